"""What every other wing uses: masks, records, metrics, random streams and the store."""
