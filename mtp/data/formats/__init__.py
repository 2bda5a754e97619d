"""Picture files, a module a format: what a header says, which bytes make the pixels, and whether they are whole."""
