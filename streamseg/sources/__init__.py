"""Video sources: cameras, servers, files and generated scenes."""
