"""The capture process: decodes one source into its frame ring."""
