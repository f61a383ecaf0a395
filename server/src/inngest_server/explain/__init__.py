"""Why a run or an event waits, or why nothing came of it: pure, with the rules that the engine decides by."""
