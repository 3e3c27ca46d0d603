from .data.braille import dots as dots
from .data.braille import read_words as read_words
from .data.images import digits as digits
from .data.words import Classify as Classify
from .device import load as load
from .learn import Accumulate as Accumulate
from .learn import centred as centred
from .learn.convert import equilibrium as equilibrium
from .learn.module import Equilibrium as Equilibrium
from .machine import (
    Periphery as Periphery,
)
from .machine import (
    SignedPair as SignedPair,
)
from .machine import (
    Simulated as Simulated,
)
from .machine import (
    place as place,
)
from .machine import (
    verified as verified,
)
from .network import Box as Box
from .network import Free as Free
from .network import Layer as Layer
from .network import Network as Network
from .network import Readout as Readout
from .network import Tanh as Tanh
from .randomness import stream as stream
from .solver import Sweep as Sweep

__version__: str
