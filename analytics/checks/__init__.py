"""What lets Great Expectations run over the warehouse: a lean import and a dialect whose rows survive."""
