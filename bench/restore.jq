# Lines of bench/restore.sh -> machine, medians with spread, goals. Variables: see the end of that file.
include "common";

def of($system; $what): $lines | map(select(.system == $system and .what == $what));
def values($system; $what; f): of($system; $what) | map(f | select(. != null));
def mid($system; $what; f): values($system; $what; f) | median;
def mb: . / 1e6;
def shown: if . == null then "-" elif . >= 1000 then round elif . >= 10 then (. * 10 | round / 10) else (. * 1000 | round / 1000) end;
def row($title; $values): if $values == [] then empty else [$title, ($values | median | shown), ($values | min | shown), ($values | max | shown)] end;
def sum_of($system; $what; f): of($system; $what) | if . == [] then null else map(f) | add end;

def mb_rate: (.bytes | mb) / .wall_s;
# What the peer replays, without its copy of the base; of ours everything counts, the snapshot, too.
def replay_rate: .replayed / (.replay_s // .wall_s);
def per_core(f): if .cpu_s > 0 then (f | mb) / .cpu_s else null end;

(($load_before | split(" ")[0] | tonumber) > ($cores | tonumber) / 2) as $busy
| (of("triveni"; "archive") | .[0]) as $ours
| (of("triveni"; "lag") | .[0]) as $lag
| {kind: "restore", date: $date, commit: $commit, took_s: ($took | tonumber),
   machine: {cpu: $cpu, cores: ($cores | tonumber), memory: $memory, kernel: $kernel, disk: $disk, load_before: $load_before, load_after: $load_after},
   settings: {raw_log_mib: ($mib | tonumber), versions: ($total | tonumber), base_at: ($base | tonumber), target_at: ($target | tonumber),
              history_versions: ($versions | tonumber), repetitions: ($reps | tonumber), warm_mib: ($warm | tonumber), systems: ($about | rtrimstr("\n") | split("\n"))},
   missing: ($missing | split("\n") | map(select(. != ""))),
   goals: ([
     goal("restore to a time: at least 4 times the MB/s of pgBackRest, each of its own raw bytes"; 4;
         ratio(mid("triveni"; "restore-time"; mb_rate); mid("pgbackrest"; "restore-time"; mb_rate))),
     goal("restore to a time: at least 20 times the records replayed a second, ours with the snapshot's time, theirs without the copy's"; 20;
         ratio(mid("triveni"; "restore-time"; replay_rate); mid("pgbackrest"; "restore-time"; replay_rate))),
     at_most("archived: at most 0.35 bytes of packs a byte of log"; 0.35; if $ours == null then null else $ours.pack_bytes / $ours.raw_bytes end),
     (at_most("lag of the archive at the full rate of three sites: at most the age of a pack, s"; $lag.pack_seconds // 10; $lag.most_s)
      | if $lag != null then .goal += " (\($lag.pack_seconds) s, and \($lag.slack_s) s for its sealing)" | .verdict = (if $lag.most_s <= $lag.pack_seconds + $lag.slack_s then "met" else "not met" end) else . end),
     at_most("history of one record of \($versions) versions: p99 under 50 ms, in ms"; 50; mid("triveni"; "history"; .p99_us) | if . == null then null else . / 1000 end),
     goal("verification without decrypting (intact): at least 1000 MB of archive a second a core"; 1000; mid("triveni"; "verify-intact"; per_core(.stored_bytes))),
     goal("full verification (readable): at least 400 MB of raw bytes a second a core"; 400; mid("triveni"; "verify-readable"; per_core(.raw_bytes))),
     at_most("memory of a restore, without page cache: less than 1024 MiB"; 1024; values("triveni"; "restore-time"; .own_mb) | max)
   ] | map(if $busy and (.verdict | IN("met", "not met")) then .verdict += ", provisional: others used the machine" else . end)),
   table: ([["", "median", "min", "max"],
     row("archive: Triveni (sealed, indexed, signed), MB/s of log"; values("triveni"; "archive"; (.raw_bytes | mb) / .wall_s)),
     row("archive: of it the sealing alone, MB/s"; values("triveni"; "archive"; (.raw_bytes | mb) / .seal_s)),
     row("archive: Triveni, records/s"; values("triveni"; "archive"; .records / .wall_s)),
     row("archive: pgBackRest, MB/s of WAL"; values("pgbackrest"; "archive"; (.raw_bytes | mb) / .wall_s)),
     row("archive: pgBackRest, records/s"; values("pgbackrest"; "archive"; .records / .wall_s)),
     row("base: Triveni's snapshot, MB/s"; values("triveni"; "base"; (.bytes | mb) / .seconds)),
     row("base: pgBackRest's full backup, MB/s"; values("pgbackrest"; "base"; (.bytes | mb) / .seconds)),
     row("archive: restic's backup of PostgreSQL's directory, MB/s"; values("restic"; "archive"; (.raw_bytes | mb) / .wall_s)),
     row("size: Triveni, packs a byte of log"; values("triveni"; "archive"; .pack_bytes / .raw_bytes)),
     row("size: Triveni, all there is, bytes a record version"; values("triveni"; "archive"; .stored_bytes / .records)),
     row("size: pgBackRest, archived a byte of WAL"; values("pgbackrest"; "stored"; ratio(.wal_bytes; sum_of("pgbackrest"; "archive"; .raw_bytes)))),
     row("size: pgBackRest, all there is, bytes a record version"; values("pgbackrest"; "stored"; ratio(.stored_bytes; sum_of("pgbackrest"; "archive"; .records)))),
     row("size: restic, stored a byte"; values("restic"; "archive"; .stored_bytes / .raw_bytes)),
     row("restore to the snapshot: Triveni, s"; values("triveni"; "restore-base"; .wall_s)),
     row("restore to a time: Triveni, s"; values("triveni"; "restore-time"; .wall_s)),
     row("restore to a time: pgBackRest, s"; values("pgbackrest"; "restore-time"; .wall_s)),
     row("restore to a time: pgBackRest, copy alone, s"; values("pgbackrest"; "restore-time"; .copy_s)),
     row("restore to a time: pgBackRest, replay alone, s"; values("pgbackrest"; "restore-time"; .replay_s)),
     row("restore to a time: Triveni, MB/s"; values("triveni"; "restore-time"; mb_rate)),
     row("restore to a time: pgBackRest, MB/s"; values("pgbackrest"; "restore-time"; mb_rate)),
     row("restore: restic, no point in time, MB/s"; values("restic"; "restore"; mb_rate)),
     row("restore to a time: Triveni, records replayed/s of all its time"; values("triveni"; "restore-time"; replay_rate)),
     row("restore to a time: pgBackRest, records replayed/s of its replay"; values("pgbackrest"; "restore-time"; replay_rate)),
     row("restore to a time: Triveni, records/s of processor time of all"; values("triveni"; "restore-time"; .replayed / .cpu_s)),
     row("restore to a time: pgBackRest, records/s of processor time of its redo"; values("pgbackrest"; "restore-time"; ratio(.replayed; .replay_cpu_s))),
     row("restore to a time: Triveni, processor s"; values("triveni"; "restore-time"; .cpu_s)),
     row("restore to a time: Triveni, memory of its own, MiB"; values("triveni"; "restore-time"; .own_mb)),
     row("history of one record: p50, ms"; values("triveni"; "history"; .p50_us / 1000)),
     row("history of one record: p99, ms"; values("triveni"; "history"; .p99_us / 1000)),
     row("history of one record: p99 of processor time, ms"; values("triveni"; "history"; .cpu_p99_us / 1000)),
     row("verify intact: Triveni, MB/s of archive"; values("triveni"; "verify-intact"; (.stored_bytes | mb) / .wall_s)),
     row("verify intact: Triveni, MB/s of archive a core"; values("triveni"; "verify-intact"; per_core(.stored_bytes))),
     row("verify intact without a key: Triveni, MB/s of archive a core"; values("triveni"; "verify-keyless"; per_core(.stored_bytes))),
     row("verify readable: Triveni, MB/s of raw bytes"; values("triveni"; "verify-readable"; (.raw_bytes | mb) / .wall_s)),
     row("verify readable: Triveni, MB/s of raw bytes a core"; values("triveni"; "verify-readable"; per_core(.raw_bytes))),
     row("verify: pgBackRest, MB/s of repository"; values("pgbackrest"; "verify-readable"; (.stored_bytes | mb) / .wall_s)),
     row("verify: pgBackRest, MB/s of repository a core"; values("pgbackrest"; "verify-readable"; per_core(.stored_bytes))),
     row("verify: restic check --read-data, MB/s of raw bytes"; values("restic"; "verify-readable"; (.raw_bytes | mb) / .wall_s)),
     row("verify: restic check --read-data, MB/s of raw bytes a core"; values("restic"; "verify-readable"; per_core(.raw_bytes)))]),
   notes: ([of("triveni"; "restore-time")[0] // empty | "restored: \(.records) records, \(.replayed) versions behind the snapshot"]
     + [of("pgbackrest"; "restore-time")[0] // empty | "pgBackRest: base of \(.base_bytes | mb | round) MB and \(.wal_bytes | mb | round) MB of WAL for the same versions"]
     + [if of("pgbackrest"; "equal") != [] then "the records that Triveni and pgBackRest restored are the same, byte by byte" else empty end]
     + [$lag // empty | "lag at \(.answered_per_s) writes a second: at most \(.most_s) s, \(.after_s) s after the last write"]
     + [of("triveni"; "restore-time")[] | "repetition \(.rep): Triveni \(.wall_s) s, \(.cpu_s) s of processor, \(.own_mb) MiB"]
     + [of("pgbackrest"; "restore-time")[] | "repetition \(.rep): pgBackRest \(.wall_s) s, copy \(.copy_s) s, replay \(.replay_s) s"]),
   lines: $lines}
