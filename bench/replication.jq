# Lines of bench/replication.sh -> machine, medians with spread, what happened in outages, goals. Variables: see the end of that file.
include "common";

($lines | map(select(.op == "put" and .system != "disk" and .what == null))
 | group_by([.clients, .system])
 | map({clients: .[0].clients, system: .[0].system, repetitions: length, per_second: (map(.per_second) | median),
        min: (map(.per_second) | min), max: (map(.per_second) | max), p50_us: (map(.p50_us) | median), p99_us: (map(.p99_us) | median),
        p999_us: (map(.p999_us) | median),
        per_server_cpu_s: (map(select((.server_cpu_s // 0) > 0) | .operations / .server_cpu_s) | median)})) as $cells
| def of($system; $clients): $cells | map(select(.system == $system and .clients == $clients)) | .[0];
  def rate($system; $clients): of($system; $clients) | .per_second;
  def disk_before($system): [$lines[] | select(.before == $system) | .mean_us] | median;
  def compared($text; $at_least; $peer): ratio(rate("triveni-majority"; 64); rate($peer; 64)) as $value
      | disk_before("triveni-majority") as $x | disk_before($peer) as $y
      | goal($text; $at_least; $value)
      | if $value == null or $x == null or $y == null then . else (([$x, $y] | max) / ([$x, $y] | min)) as $apart
        | if $apart > 1.5 then .verdict = "undecided: the disk under the two differed by a factor of \($apart | round_to(10))" else . end end;
  def happened($what): $lines | map(select(.what == $what));
  def times($what; $field): happened($what) | map(.[$field] | select(. != null));
  def row($title; $values): ($values | sort) as $v
      | if $v == [] then empty else [$title, ($v | length), ($v | median | round_to(10)), ($v | quantile(0.99) | round_to(10)), ($v[0] | round_to(10)), ($v[-1] | round_to(10))] end;
  (($load_before | split(" ")[0] | tonumber) > ($cores | tonumber) / 2) as $busy
| {kind: "replication", date: $date, commit: $commit, took_s: ($took | tonumber),
   machine: {cpu: $cpu, cores: ($cores | tonumber), memory: $memory, kernel: $kernel, disk: $disk, load_before: $load_before, load_after: $load_after},
   settings: {repetitions: ($reps | tonumber), seconds_per_cell: ($seconds | tonumber), records: ($records | tonumber), times: ($times | tonumber),
              rate: ($rate | tonumber), warm_mib: ($warm | tonumber), tuned: $tuned, systems: ($about | rtrimstr("\n") | split("\n"))},
   missing: ($missing | split("\n") | map(select(. != ""))),
   goals: ([
     compared("64 clients, majority: at least 5 of Redis with WAIT 1, TLS"; 5; "redis-wait-tls"),
     compared("64 clients, majority over TLS: at least 5 of Redis with WAIT 1, plain"; 5; "redis-wait"),
     compared("64 clients, majority over TLS: at least 4 of PostgreSQL with a synchronous standby, plain"; 4; "postgres-sync"),
     compared("64 clients, majority over TLS: at least 10 of etcd, plain"; 10; "etcd"),
     at_most("1 client: p50 in majority at most 1.3 of that in local"; 1.3; ratio(of("triveni-majority"; 1) | .p50_us; of("triveni-local"; 1) | .p50_us)),
     at_most("switchover under load: pause at p99 at most 200 ms"; 200; times("switchover"; "pause_ms") | quantile(0.99)),
     at_most("kill -9 of the primary, default times: first answer at p99 within 2000 ms"; 2000; times("failover-default"; "recovered_ms") | quantile(0.99)),
     at_most("kill -9 of the primary, tuned times: first answer at p99 within 300 ms"; 300; times("failover-tuned"; "recovered_ms") | quantile(0.99)),
     goal("a stopped site catches up at 100 MB of log a second, its start included"; 100; times("catch-up"; "mb_per_second") | median),
     (happened("rejoin")[] | at_most("a former primary with \(.divergent) records of its own rejoins a store of \(.records) within 10 s"; 10; .following_ms / 1000)),
     at_most("mode local at half of the most: lag on disk at all sites at p99 under 100 ms"; 100; times("lag"; "durable_at_all") | map(.p99_ms) | max),
     at_most("mode local at half of the most: lag in the state of dr and gsr at p99 under 100 ms"; 100;
         (times("lag"; "applied_at_dr") + times("lag"; "applied_at_gsr")) | map(.p99_ms) | max)
   ] | map(if $busy and (.verdict | IN("met", "not met")) then .verdict += ", provisional: others used the machine" else . end)),
   table: ([["clients", "system", "median/s", "min/s", "max/s", "p50 us", "p99 us", "p99.9 us", "of ours"]]
     + ($cells | map([.clients, .system, (.per_second | round), (.min | round), (.max | round), .p50_us, .p99_us, .p999_us,
                      (ratio(.per_second; rate("triveni-majority"; .clients)) | round_to(100) // "-")]))),
   events: ([["", "n", "p50", "p99", "min", "max"]]
     + [row("switchover: pause of clients, ms"; times("switchover"; "pause_ms")),
        row("kill -9, default times: to the first answer, ms"; times("failover-default"; "recovered_ms")),
        row("kill -9, tuned times: to the first answer, ms"; times("failover-tuned"; "recovered_ms")),
        row("kill -9, etcd's leader: to the first answer, ms"; times("failover-etcd"; "recovered_ms"))]),
   notes: ([(happened("failover-default-terms") + happened("failover-tuned-terms"))[] | "\(.what | rtrimstr("-terms")): \(.terms) new terms for \(.kills) kills"]
     + [happened("links")[] | "links: \(.system), \(.values): \(.bytes_per_record | round) bytes a record for \(.copies) copies, \(.per_copy | round) each"]
     + [happened("catch-up")[] | "catch-up: \(.entries) transactions, \(.log_mb | round) MB of log in \(.from_start_ms) ms from the start of the process, \(.since_first_entry_ms) ms since the first came"]
     + [happened("rejoin")[] | "rejoin: store of \(.records) records, \(.divergent) divergent: follows after \(.following_ms) ms, found equal after \(.equal_ms) ms"]
     + [happened("lag")[] | "lag at \(.rate)/s in mode local, ms p50 p99 max: on disk at all sites \(.durable_at_all | [.p50_ms, .p99_ms, .max_ms] | join(" ")); in the state of dr \(.applied_at_dr | [.p50_ms, .p99_ms, .max_ms] | join(" ")), of gsr \(.applied_at_gsr | [.p50_ms, .p99_ms, .max_ms] | join(" "))"]),
   summary: $cells, lines: $lines}
