"""Go's text templates: ``lexer`` and ``parser`` make a tree, ``interpreter`` walks it over ``values``."""
