"""What runs Great Expectations over the warehouse: suites, report, a lean import, a dialect that keeps its rows."""
