"""What somebody else holds on a futures instrument, as S5 saw it last.

The exchange has one position of an instrument. An entry beside somebody else's would close that, or be closed with it,
so S3 and S4 leave the instrument alone meanwhile.
"""

from decimal import Decimal

from chimera.contracts.collections import system_state
from chimera.contracts.documents import StrangersState
from chimera.contracts.instrument_key import InstrumentKey
from chimera.ports.documents import Documents

STRANGERS = system_state(StrangersState)


async def held_by_strangers(documents: Documents, key: InstrumentKey) -> Decimal:
    """Signed; 0 where nobody holds anything beside us."""
    state = await documents.get(STRANGERS, "strangers")
    return Decimal(0) if state is None else state.held.get(str(key), Decimal(0))
