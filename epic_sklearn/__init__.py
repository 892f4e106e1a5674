"""Find and drop poisoned training examples while a model trains."""

from importlib.metadata import version

import lazy_loader

# Names are imported when first asked for: the command line's help and a wrong option
# need neither torch nor scikit-learn, which take seconds. The stub says what lives
# where, to readers, type checkers and the loader alike.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = version("epic-sklearn")
