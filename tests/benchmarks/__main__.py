"""How fast Photoproc is beside what people would use instead; see `throughput`."""

from tests.benchmarks.throughput import main

main()
