"""Where frames come from: cameras, servers, files and generated scenes."""
