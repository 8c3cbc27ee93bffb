"""Charts: what a picture shows, and how it is drawn as PNG, SVG, PDF or interactive HTML."""
