# Cells of all repetitions -> machine, medians with spread, ratios, goals. Variables: see the end of run.sh.
include "common";

def key: [.op, .clients, .depth, .value_bytes, (.recover_mb // 0)];
def in_process: . == "triveni-embedded" or . == "rocksdb" or . == "lmdb" or . == "disk";
def ours: if in_process then "triveni-embedded" else "triveni-single" end;

($cells | map(select(.million == null)) | map(. + {recover_mb: (.log_mb // 0 | round)})
 | group_by([key, .system])
 | map({op: .[0].op, clients: .[0].clients, depth: .[0].depth, value_bytes: .[0].value_bytes, recover_mb: .[0].recover_mb, system: .[0].system,
        repetitions: length,
        per_second: (map(.per_second) | median), min: (map(.per_second) | min), max: (map(.per_second) | max),
        p50_us: (map(.p50_us) | median), p99_us: (map(.p99_us) | median), p999_us: (map(.p999_us) | median),
        drain_s: (map(.drain_s // empty) | median),
        mb_per_second: (map(.mb_per_second // empty) | median),
        alone_per_cpu_s: (map(.alone_per_cpu_s // empty) | median), per_reader_cpu_s: (map(.per_cpu_s // empty) | median),
        server_private_mb: (map(.server_private_mb // empty) | max),
        per_client_cpu_s: (map(select(.client_cpu_s > 0) | .operations / .client_cpu_s) | median),
        per_server_cpu_s: (map(select((.server_cpu_s // 0) > 0) | .operations / .server_cpu_s) | median)})
) as $all
| (($load_before | split(" ")[0] | tonumber) > ($cores | tonumber) / 2) as $busy
| def of($system; $op; $clients; $depth; $value): $all | map(select(.system == $system and .op == $op and .clients == $clients and .depth == $depth and .value_bytes == $value)) | .[0];
  def rate($system; $op; $clients; $depth; $value): of($system; $op; $clients; $depth; $value) | .per_second;
  # Two systems are measured one after the other. When the disk itself changed between their turns, their ratio says nothing about them.
  def disk_before($system): [$cells[] | select(.before == $system) | .mean_us] | median;
  def compared($text; $at_least; $a; $b; $value): goal($text; $at_least; $value)
      | disk_before($a) as $x | disk_before($b) as $y
      | if $value == null or $x == null or $y == null then . else (([$x, $y] | max) / ([$x, $y] | min)) as $apart
        | if $apart > 1.5 then .verdict = "undecided: the disk under the two differed by a factor of \($apart | round_to(10))" else . end end;
  # How far a server without a store comes: the goal is out of reach where this is below it, and near it there is no room for a store.
  def most($text; $peer; $n; $depth): ratio(rate("bare-tls"; "put"; $n; $depth; 1024); rate($peer; "put"; $n; $depth; 1024)) as $value
      | goal($text; 0; $value) | if $value == null then . else .verdict = "the most there is" end;
  def at_most_and_possible($text; $limit; $value): goal($text; 0; $value) | if $value == null then . elif $value < 0.9 then .verdict = "undecided: less than the disk itself takes, which cannot be" else .verdict = (if $value <= $limit then "met" else "not met" end) end;
  ($all | map(. as $cell | . + {ratio_to_ours: (ratio(.per_second; rate(.system | ours; $cell.op; $cell.clients; $cell.depth; $cell.value_bytes)) | round_to(100))})
   | sort_by([.op, .value_bytes, .clients, .depth, (.system | in_process | not), .system])) as $summary
| {kind: $kind, date: $date, commit: $commit, took_s: ($took | tonumber),
   machine: {cpu: $cpu, cores: ($cores | tonumber), memory: $memory, kernel: $kernel, disk: $disk, load_before: $load_before, load_after: $load_after},
   settings: {repetitions: ($reps | tonumber), records: ($records | tonumber), warm_mib: ($warm | tonumber), systems: ($about | rtrimstr("\n") | split("\n"))},
   missing: ($missing | split("\n") | map(select(. != ""))),
   left_out: ($left_out | split("\n") | map(select(. != ""))),
   goals: ([
     at_most_and_possible("1 client, 1 KiB: p50 of the embedded store at most 1.15 of a raw synchronous 4 KiB write"; 1.15;
         ([$cells[] | select(.op == "floor" and .system == "triveni-embedded") | .p50_us / .raw_p50_us] | median)),
     at_most_and_possible("1 client, 1 KiB, TLS: p50 at most a raw synchronous 4 KiB write and a TLS round trip"; 1;
         ([$cells[] | select(.op == "floor" and .system == "triveni-single") | .p50_us / (.raw_p50_us + .line_p50_us)] | median)),
     (64, 256 | . as $n | compared("\($n) clients, 1 KiB, TLS: at least 1.5 of Redis AOF always, TLS"; 1.5; "triveni-single"; "redis-tls"; ratio(rate("triveni-single"; "put"; $n; 1; 1024); rate("redis-tls"; "put"; $n; 1; 1024)))),
     (64, 256 | . as $n | most("\($n) clients, 1 KiB, TLS: a server that keeps nothing, of Redis AOF always, TLS"; "redis-tls"; $n; 1)),
     (64, 256 | . as $n | compared("\($n) clients, pipelined 16, 1 KiB, TLS: at least 3 of Redis AOF always, TLS"; 3; "triveni-single"; "redis-tls"; ratio(rate("triveni-single"; "put"; $n; 16; 1024); rate("redis-tls"; "put"; $n; 16; 1024)))),
     (64, 256 | . as $n | most("\($n) clients, pipelined 16, 1 KiB, TLS: a server that keeps nothing, of Redis AOF always, TLS"; "redis-tls"; $n; 16)),
     (1, 16, 64, 256 | . as $n | compared("\($n) clients, 1 KiB: embedded at least 2 of RocksDB WAL-synced"; 2; "triveni-embedded"; "rocksdb"; ratio(rate("triveni-embedded"; "put"; $n; 1; 1024); rate("rocksdb"; "put"; $n; 1; 1024)))),
     compared("64 clients, 1 KiB: at least 30 of OpenLDAP back-mdb modifications"; 30; "triveni-single"; "openldap"; ratio(rate("triveni-single"; "put"; 64; 1; 1024); rate("openldap"; "put"; 64; 1; 1024))),
     most("64 clients, 1 KiB: a server that keeps nothing, over TLS, of OpenLDAP back-mdb modifications"; "openldap"; 64; 1),
     (1, 2 | . as $n | goal("\($n) threads: embedded get at least 0.9 of raw LMDB"; 0.9; ratio(rate("triveni-embedded"; "get"; $n; 1; 1024); rate("lmdb"; "get"; $n; 1; 1024)))),
     goal("embedded scan at least 0.9 of raw LMDB"; 0.9; ratio(rate("triveni-embedded"; "scan"; 1; 1; 1024); rate("lmdb"; "scan"; 1; 1; 1024))),
     goal("embedded gets beside 16 writers, for a second of the reader's processor time, of those alone: at least 0.7"; 0.7;
         ([$cells[] | select(.op == "mixed") | .per_cpu_s / .alone_per_cpu_s] | median)),
     goal("64 clients: gets over TLS for a second of server CPU at least 1.0 of Redis TLS"; 1; ratio(of("triveni-single"; "get"; 64; 1; 1024).per_server_cpu_s; of("redis-tls"; "get"; 64; 1; 1024).per_server_cpu_s)),
     goal("64 clients: gets over TLS at least 1.0 of Redis TLS"; 1; ratio(rate("triveni-single"; "get"; 64; 1; 1024); rate("redis-tls"; "get"; 64; 1; 1024))),
     goal("recovery of the longest log at least 200 MB/s"; 200; [$all[] | select(.op == "recover")] | sort_by(.recover_mb) | last | .mb_per_second),
     at_most("64 clients over \($minutes) min with checkpoints: p99.9 of a commit at most 50 ms"; 50;
         [$cells[] | select(.op == "grow" and .checkpoints > 0) | .p999_us / 1000] | first),
     at_most("a site with \($million) records of 1 KiB, after a burst of writes: memory beyond the page cache at most 256 MiB"; 256;
         [$cells[] | select(.million != null) | .server_private_mb * 1e6 / 1048576] | max)
   ] | map(if $busy and (.verdict | IN("met", "not met")) then .verdict += ", provisional: others used the machine" else . end)),
   table: ([["op", "clients", "depth", "value", "system", "median/s", "min/s", "max/s", "p50 us", "p99 us", "p99.9 us", "of ours"]]
     + ($summary | map(select(.op != "fill") | [.op, .clients, .depth, .value_bytes, .system, (.per_second | round), (.min | round), (.max | round), .p50_us, .p99_us, .p999_us, (.ratio_to_ours // "-")]))),
   summary: $summary, growth: ($growth[0].samples // []), cells: $cells}
