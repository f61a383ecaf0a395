"""Every bound of an expression, with its reason.

Expressions come from applications and are evaluated on the shard's loop, where no slice of work may
take long. The worst that the bounds allow together is about ten milliseconds; what people write takes
microseconds.
"""

# Interpolated lists of ids are the longest texts seen; a longer list belongs in the event.
TEXT_CHARS_MAX = 8 * 1024

# Parentheses, arguments, list items and `? :` inside each other. Each level costs the parser about eight
# Python frames, of which a process has 1,000.
NESTING_MAX = 40

# Height of the syntax tree, which `a + b + c + ...` also raises. Evaluation needs a frame or two a level.
TREE_HEIGHT_MAX = 100

# One step is a node evaluated for an item of a macro, a compared pair inside lists or objects, or the
# copying or comparing of `CHARS_PER_STEP`. A function counts as more nodes.
WORK_STEPS_MAX = 50_000
CHARS_PER_STEP = 64
STEPS_PER_CALL = 8

# Parsing JSON and matching patterns cost more for a character than copying does.
JSON_CHARS_PER_STEP = 4
PATTERN_CHARS_PER_STEP = 8

# A pattern that comes from event data is compiled while the event waits.
PATTERN_CHARS_MAX = 1_000
PATTERN_COMPILE_STEPS = 2_000
PATTERN_MEMORY_BYTES = 1 << 20

# The longest spelling of a date, duration, number or time zone that anyone writes is far shorter.
SCALAR_CHARS_MAX = 64

# A wait is put under each key of an `in [...]` list; a longer list is compared instead.
INDEX_KEYS_MAX = 256
INDEX_PATHS_MAX = 4

INT_MIN = -(2**63)
INT_MAX = 2**63 - 1
UINT_MAX = 2**64 - 1

# Compiled expressions kept by text, and compiled shapes kept by syntax tree.
EXPRESSIONS_KEPT = 1_024
SHAPES_KEPT = 1_024
