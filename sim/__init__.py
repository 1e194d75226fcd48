"""The world: who exists, what happens, what is logged, what is true."""

from sim.config import ConfigError as ConfigError
from sim.config import Objective as Objective
from sim.config import WorldConfig as WorldConfig
from sim.log import Log as Log
from sim.log import LogError as LogError
from sim.pairs import Pairs as Pairs
from sim.presets import preset as preset
from sim.simulate import simulate as simulate
from sim.world import World as World
