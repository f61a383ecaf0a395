"""REST: what users and SDKs ask about events and runs, and what SDKs report. Source: protocol 3.4, 7."""
