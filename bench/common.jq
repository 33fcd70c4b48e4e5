# What bench/report.jq and bench/replication.jq share.
def median: sort | if length == 0 then null elif length % 2 == 1 then .[length / 2 | floor] else (.[length / 2] + .[length / 2 - 1]) / 2 end;
# The least value that so large a part is not above: of ten, the 0.99 quantile is the largest.
def quantile(q): sort | if length == 0 then null else .[[(length * q | ceil) - 1, 0] | max] end;
def round_to(n): if . == null then null else . * n | round / n end;
def ratio(a; b): if a == null or b == null or b == 0 then null else a / b end;
def goal($text; $at_least; $value): {goal: $text, measured: (if $value == null then "not measured" else "\($value | round_to(100))" end),
    verdict: (if $value == null then "-" elif $value >= $at_least then "met" else "not met" end)};
def at_most($text; $most; $value): goal($text; 0; $value) | if $value == null then . else .verdict = (if $value <= $most then "met" else "not met" end) end;
