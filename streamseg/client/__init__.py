"""For programs that consume masks. Imports neither torch nor av."""
