# Triveni. `make help` says what there is.
#
# Object files live in build/<compiler>-<mode>/; sources are found by folder, so a new .c file needs no line here. Whatever
# compiles depends on build/deps.ok, so that every target works on a Debian 12 that has nothing but make.

VERSION  := 0.1.0
MODE     ?= release
CC       := $(if $(filter default undefined,$(origin CC)),gcc,$(CC))
BUILD    ?= build/$(notdir $(CC))-$(MODE)
PREFIX   ?= /usr/local
LIBDIR   ?= $(PREFIX)/lib
V        ?= 0
MODES     = release debug asan tsan fuzz
ifeq ($(filter $(MODES),$(MODE)),)
$(error MODE=$(MODE) is unknown: one of $(MODES))
endif
Q         = $(if $(filter 1,$(V)),,@)
JOBS     ?= $(shell nproc)
MAKEFLAGS += --no-builtin-rules $(if $(filter 0,$(MAKELEVEL)),-j$(JOBS))

# Debian 12 packages: to compile, to test, to check the source, to run the drills.
PACKAGES  = gcc libc6-dev make pkg-config liblmdb-dev libuv1-dev libssl-dev libzstd-dev liburing-dev libcyaml-dev libyaml-dev \
            libjansson-dev libisal-dev libxxhash-dev libp11-kit-dev libcurl4-openssl-dev libexpat1-dev scdoc \
            libcmocka-dev clang libclang-rt-dev \
            clang-format clang-tidy cppcheck \
            iproute2 iso-codes jq opensc openssl procps python3-minimal softhsm2 spin zstd \
            fuse3 libfuse3-dev

LIBS      = lmdb libuv openssl libzstd liburing libcyaml jansson libxxhash p11-kit-1 libcurl expat
# What libtriveni alone needs.
CLIENT_LIBS = libuv openssl libzstd

WARN      = -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Wmissing-prototypes -Wstrict-prototypes -Wvla \
            -Wcast-qual -Wformat=2 -Wswitch-enum -Wundef -Wwrite-strings -Werror
SLOW      = -fno-omit-frame-pointer -DTVN_CHECK_SLOW
CFLAGS_debug   = -O0 -g3 $(SLOW)
CFLAGS_release = -O2 -g -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection
# -g1: lines are all that a report needs, and 200 programs are linked twice as fast. The macros are those of gcc, by which code asks
# for them; clang has no such names of its own.
CFLAGS_asan    = -O1 -g1 $(SLOW) -fsanitize=address,undefined -fno-sanitize-recover=all -D__SANITIZE_ADDRESS__=1
CFLAGS_tsan    = -O1 -g1 $(SLOW) -fsanitize=thread -D__SANITIZE_THREAD__=1
CFLAGS_fuzz    = -O1 -g1 $(SLOW) -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -D__SANITIZE_ADDRESS__=1
LDFLAGS_release = -Wl,-z,relro,-z,now

# OPENSSL_API_COMPAT: see store/core/hash.c.
CPPFLAGS += -I. -D_GNU_SOURCE -DOPENSSL_API_COMPAT=0x10101000L -include store/core/banned.h
CFLAGS   += -std=c11 -fPIC -fno-common -pthread $(WARN) $(CFLAGS_$(MODE))
LDFLAGS  += -pthread $(LDFLAGS_$(MODE)) $(filter -fsanitize=%,$(CFLAGS_$(MODE)))
# With ASan and UBSan inlining costs more to compile than a test wins back in its one run.
$(BUILD)/tests/unit/%.o: CFLAGS += $(if $(filter asan,$(MODE)),-Og -fno-inline)
# Asked once per make, and only when something is to be compiled: pkg-config may not be there before.
PKG_CFLAGS = $(eval PKG_CFLAGS := $$(shell pkg-config --cflags $(LIBS)))$(PKG_CFLAGS)
LDLIBS     = $(eval LDLIBS := $$(shell pkg-config --libs $(LIBS)) -lisal -lm)$(LDLIBS)

src_of    = $(wildcard $(1)/*.c $(1)/core/*.c $(1)/io/*.c)
obj_of    = $(patsubst %.c,$(BUILD)/%.o,$(1))
STORE_A   = $(BUILD)/libstore.a
ARCHIVES  = $(BUILD)/libtools.a $(BUILD)/libclient.a $(BUILD)/librepository.a $(BUILD)/libreplication.a $(STORE_A)
TOOLS_SRC = $(filter-out tools/main.c,$(wildcard tools/*.c))
CORE_SRC  = $(wildcard store/core/*.c replication/core/*.c repository/core/*.c)
SHIPPED   = $(foreach f,store replication repository client,$(call src_of,$(f))) $(wildcard tools/*.c)
UNIT_SRC  = $(wildcard tests/unit/*/*_test.c tests/unit/*/*/*_test.c)
UNIT_BIN  = $(patsubst %.c,$(BUILD)/%,$(UNIT_SRC))
FUZZ_BIN  = $(patsubst %.c,$(BUILD)/%,$(wildcard tests/fuzz/*_fuzz.c))
EXAMPLES  = $(patsubst %.c,$(BUILD)/%,$(wildcard client/examples/*.c))
MAN       = $(BUILD)/man/triveni.1 $(patsubst docs/man/%.scd,$(BUILD)/man/%,$(wildcard docs/man/*.scd))
WRITERS   = $(BUILD)/tests/writers/writers $(BUILD)/tests/writers/wrong_value
PRELOADS  = $(patsubst %,$(BUILD)/tests/lib/%.so,bad_disk set_clock slow_disk)
NEMESIS   = $(patsubst %,$(BUILD)/tests/nemesis/%,registers wire)
SO        = libtriveni.so.$(VERSION)
SONAME    = libtriveni.so.$(firstword $(subst ., ,$(VERSION)))

.DEFAULT_GOAL = help
.DELETE_ON_ERROR:
.SECONDARY:

# ---- what there is to build ----
.PHONY: all
all: $(BUILD)/triveni $(BUILD)/$(SO) $(BUILD)/libtriveni.a $(BUILD)/triveni-uninstalled.pc $(EXAMPLES) $(MAN) ## build the triveni binary, libtriveni, examples and man pages

.PHONY: deps
deps: build/deps.ok ## install the Debian packages that are missing
build/deps.ok: Makefile tests/build/deps.sh
	@tests/build/deps.sh $(PACKAGES)
	@mkdir -p build && touch $@

$(BUILD)/%.o: %.c Makefile | build/deps.ok
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

# Bytes of the program (.incbin).
$(BUILD)/tools/bag_script.o: tools/bag_verify.sh

$(BUILD)/lib%.a: | build/deps.ok
	@echo "  AR    $(@F)"
	@mkdir -p $(@D)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/libstore.a: $(call obj_of,$(call src_of,store))
$(BUILD)/libreplication.a: $(call obj_of,$(call src_of,replication))
$(BUILD)/librepository.a: $(call obj_of,$(call src_of,repository))
$(BUILD)/libclient.a: $(call obj_of,$(call src_of,client))
$(BUILD)/libtools.a: $(call obj_of,$(TOOLS_SRC))
$(BUILD)/libsim.a: $(call obj_of,$(filter-out tests/sim/main.c,$(wildcard tests/sim/*.c)) tests/lib/linear.c)
$(BUILD)/libtriveni.a: $(BUILD)/libtriveni.o

link = @echo "  LD    $(patsubst $(BUILD)/%,%,$@)"; mkdir -p $(@D); \
       $(CC) $(LDFLAGS) $< -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LDLIBS) $(1) -o $@

$(BUILD)/triveni: $(BUILD)/tools/main.o $(ARCHIVES)
	$(call link)

# tests/unit/<folder>/.../x_test.c becomes one cmocka program, tests/fuzz/x_fuzz.c one libFuzzer program.
$(BUILD)/tests/%: $(BUILD)/tests/%.o $(BUILD)/libsim.a $(ARCHIVES)
	$(call link)
$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(BUILD)/libsim.a $(ARCHIVES)
	$(call link,-lcmocka)
$(BUILD)/tests/fuzz/%: $(BUILD)/tests/fuzz/%.o $(ARCHIVES)
	$(call link,-fsanitize=fuzzer)

# For LD_PRELOAD, not for a sanitizer.
$(BUILD)/tests/lib/%.so: $(BUILD)/tests/lib/%.o
	@echo "  LD    tests/lib/$(@F)"
	$(Q)$(CC) -shared $< -o $@

# The client library is one object: the client whole, and what it needs of the other folders. Only tvn_* stays visible.
$(BUILD)/libtriveni.o: $(BUILD)/libclient.a $(BUILD)/libreplication.a $(STORE_A)
	@echo "  LD    $(@F)"
	$(Q)$(CC) -r -nostdlib -Wl,--whole-archive $< -Wl,--no-whole-archive $(BUILD)/libreplication.a $(STORE_A) -o $@
	$(Q)objcopy --wildcard --keep-global-symbol='tvn_*' $@
$(BUILD)/$(SO): $(BUILD)/libtriveni.o client/libtriveni.map
	@echo "  LD    $(@F)"
	$(Q)$(CC) $(LDFLAGS) -shared -Wl,-soname,$(SONAME),--version-script,client/libtriveni.map,--as-needed $< \
	    $$(pkg-config --libs $(CLIENT_LIBS)) -lisal -o $@
	$(Q)cd $(BUILD) && ln -sf $(SO) $(SONAME) && ln -sf $(SONAME) libtriveni.so
# For who tries the library without installing it: pkg-config prefers this file where it sees it.
$(BUILD)/triveni-uninstalled.pc: client/triveni.pc.in Makefile
	@mkdir -p $(@D)
	$(Q)sed -e 's|@PREFIX@|$(CURDIR)|;s|@LIBDIR@|$(abspath $(BUILD))|;s|@VERSION@|$(VERSION)|;s|/include$$|/client|' \
	    -e 's|^Libs: |&-Wl,-rpath,$${libdir} |' $< > $@
$(BUILD)/client/examples/%: $(BUILD)/client/examples/%.o $(BUILD)/$(SO)
	@echo "  LD    client/examples/$(@F)"
	$(Q)$(CC) $(LDFLAGS) $< -L$(BUILD) -ltriveni -Wl,-rpath,'$$ORIGIN/../..' -o $@

$(BUILD)/man/triveni.1: $(BUILD)/triveni
	@mkdir -p $(@D)
	$(Q)$< help --scdoc > $@.scd && scdoc < $@.scd > $@
$(BUILD)/man/%: docs/man/%.scd | build/deps.ok
	@mkdir -p $(@D)
	$(Q)scdoc < $< > $@

# ---- tests ----
.PHONY: unit unit-programs
unit-programs: $(if $(filter command%,$(origin T)),$(shell printf '%s\n' $(UNIT_BIN) | grep -E '$(T)'),$(UNIT_BIN))
unit: unit-programs ## build and run the unit tests; T=part of a name: only those
	@tests/run.sh unit $(BUILD) '$(T)'

.PHONY: demo
demo: $(BUILD)/triveni $(WRITERS) ## see three sites work, fail over and restore, in a minute; KEEP=1 leaves them running
	@BUILD=$(BUILD) tests/demo/demo.sh

.PHONY: check check-long integration-programs
integration-programs: all $(WRITERS) $(PRELOADS) $(NEMESIS) $(patsubst %,$(BUILD)/bench/%,load_archive load_disk warm_memory)
check: deps ## build and run the tests: unit, sanitizers, layers, simulator, fuzz, integration
	@tests/run.sh check
check-long: deps ## what make check has no time for, a bounded portion of each: clang, drills, power cuts, the model; DRILLS=expression
	@DRILLS='$(DRILLS)' tests/run.sh long

.PHONY: test-s3
S3       ?= s3_disposal s3
test-s3: $(BUILD)/triveni ## the archive in a bucket with Object Lock: installs and starts a Ceph RADOS gateway, about 4 minutes; S3=one script
	@for script in $(S3); do BUILD=$(BUILD) tests/integration/$$script.sh || exit; done

# ---- real sites, random faults; see tests/README.md ----
.PHONY: nemesis
nemesis: $(BUILD)/triveni $(WRITERS) $(PRELOADS) $(NEMESIS) ## real sites, random faults, checked clients: MINUTES=5 or KILLS=1000, SEED=
	@BUILD=$(BUILD) MINUTES=$(MINUTES) KILLS=$(KILLS) SEED=$(if $(filter command%,$(origin SEED)),$(SEED)) tests/nemesis/nemesis.sh

.PHONY: sim sim-mutants
SEED     ?= 1
SEEDS    ?= $(if $(filter command%,$(origin SEED)),1,100)
STEPS    ?= 2000
sim: $(BUILD)/tests/sim/main ## three sites in virtual time: SEED= the first, SEEDS= how many, STEPS= length of each
	@$< --seed $(SEED) --seeds $(SEEDS) --steps $(STEPS)
sim-mutants: $(BUILD)/tests/sim/main ## the simulator must find every planted bug
	@$< --mutants

.PHONY: model
model: deps ## the protocol as a model, searched in every order within bounds: about 10 minutes
	@tests/model/model.sh

.PHONY: fuzz-programs fuzz-smoke
fuzz-programs: $(FUZZ_BIN)
fuzz-smoke: deps ## fuzz every decoder of foreign bytes for FUZZ_SECONDS=10 each
	@tests/run.sh fuzz

# ---- power cuts; see tests/crash/README.md ----
.PHONY: crash crash-programs
CUTS     ?= 2000
CRASH     = $(patsubst %,$(BUILD)/tests/crash/%,cuts powerfs ledger faults)
$(BUILD)/libcrash.a: $(patsubst %,$(BUILD)/tests/crash/%.o,disk record lab)
$(BUILD)/tests/crash/cuts: $(BUILD)/libcrash.a
# Not with the archive: record.o would take the place of the C library's calls in powerfs itself.
$(BUILD)/tests/crash/powerfs: $(BUILD)/tests/crash/powerfs.o $(BUILD)/tests/crash/disk.o
	$(call link,$(BUILD)/tests/crash/disk.o -lfuse3 -lxxhash)
# What libraries call is replaced as well: their symbols are looked up in the program first.
$(BUILD)/tests/crash/faults: $(BUILD)/tests/crash/faults.o $(BUILD)/tests/lib/faults.o $(ARCHIVES)
	$(call link,$(BUILD)/tests/lib/faults.o)
crash-programs: $(BUILD)/triveni $(CRASH)
crash: crash-programs ## cut the power CUTS=2000 times, under the store and under a real site; nothing may be lost
	@BUILD=$(BUILD) tests/crash/crash.sh $(CUTS)

# ---- the source itself ----
.PHONY: layers
layers: $(call obj_of,$(CORE_SRC)) ## prove that core/ folders are pure and folders include only what they may
	@CC='$(CC)' CPPFLAGS='$(CPPFLAGS) $(PKG_CFLAGS)' tests/build/layers.sh $(BUILD)

.PHONY: lint clang-tidy
clang-tidy: $(SHIPPED:%.c=build/lint/%.ok)
lint: deps ## clang-tidy, clang-format, cppcheck and the house rules
	@$(MAKE) --no-print-directory -k clang-tidy; ok=$$?; tests/build/tidy.sh && exit $$ok

# What the analyzer has to be told of us, once.
TOLD = $(if $(filter-out store/core/err.c,$<),-include tests/build/analyzer.h)
build/lint/%.ok: %.c .clang-tidy tests/build/analyzer.h $(wildcard */*.h */core/*.h */io/*.h) | build/deps.ok
	@mkdir -p $(@D)
	@echo "  LINT  $<"
	$(Q)clang-tidy --quiet $< -- -std=c11 $(CPPFLAGS) $(PKG_CFLAGS) $(TOLD) 2>$@.log || { cat $@.log; exit 1; }
	$(Q)touch $@

.PHONY: format
format: deps ## rewrite all C files with clang-format
	@git ls-files -z '*.c' '*.h' | xargs -0 clang-format -i

.PHONY: analyze
analyze: deps ## gcc -fanalyzer on the pure folders, the clang analyzer on all
	@$(MAKE) --no-print-directory BUILD=build/analyze-gcc CFLAGS='-fanalyzer' $(patsubst %.c,build/analyze-gcc/%.o,$(CORE_SRC))
	@$(MAKE) --no-print-directory -k $(SHIPPED:%.c=build/analyze/%.ok)

build/analyze/%.ok: %.c tests/build/analyzer.h $(wildcard */*.h */core/*.h */io/*.h) | build/deps.ok
	@mkdir -p $(@D)
	@echo "  SCAN  $<"
	$(Q)clang --analyze -std=c11 $(CPPFLAGS) $(PKG_CFLAGS) $(TOLD) --analyzer-output text -Xclang -analyzer-werror $<
	$(Q)touch $@

# ---- bench ----
# Each bench/load_x.c is a program; the libraries of peers are linked to theirs alone, and only bench/run.sh asks for those.
BENCH      = $(BUILD)/bench/load_triveni $(BUILD)/bench/load_site $(BUILD)/bench/load_embedded $(BUILD)/bench/load_disk $(BUILD)/bench/load_lmdb \
             $(patsubst %,$(BUILD)/bench/%,load_redis bare_server warm_memory)
BENCH_REPL = $(patsubst %,$(BUILD)/bench/load_%,site redis disk paced) $(BUILD)/bench/warm_memory
BENCH_LIBS_postgres = -lpq
BENCH_LIBS_ldap     = -lldap -llber
BENCH_LIBS_rocksdb  = -lrocksdb
BENCH_LIBS_etcd     = -lnghttp2
BENCH_OBJ  = $(call obj_of,bench/bench.c bench/histogram.c bench/disk.c bench/engine.c bench/outage.c)
$(BUILD)/bench/load_postgres.o: CPPFLAGS += -I/usr/include/postgresql
$(BUILD)/bench/load_%: $(BUILD)/bench/load_%.o $(BUILD)/libbench.a $(BUILD)/libclient.a $(BUILD)/libreplication.a $(STORE_A)
	$(call link,$(BENCH_LIBS_$*))
# The one that has the archive beneath it.
$(BUILD)/bench/load_archive: $(BUILD)/librepository.a
$(BUILD)/bench/bare_server $(BUILD)/bench/warm_memory: $(BUILD)/bench/%: $(BUILD)/bench/%.o $(BUILD)/libbench.a $(STORE_A)
	$(call link)
$(BUILD)/libbench.a: $(BENCH_OBJ)

.PHONY: bench bench-store bench-quick bench-replication bench-restore
bench: bench-quick ## measure Triveni alone; make bench-store has its peers beside it
bench-store: all $(BENCH) ## measure Triveni beside its peers: about 15 minutes; REPS= MINUTES= SYSTEMS= PEERS=
	@BUILD=$(BUILD) MAKE='$(MAKE)' bench/run.sh store
bench-replication: all $(BENCH_REPL) ## measure three sites beside replicated peers, and their failovers: about 15 minutes; REPS= TIMES= SYSTEMS= CELLS=
	@BUILD=$(BUILD) MAKE='$(MAKE)' bench/replication.sh
.PHONY: bench-archive-programs
bench-archive-programs: $(BUILD)/bench/load_archive $(BUILD)/bench/warm_memory
bench-restore: all bench-archive-programs $(BUILD)/bench/load_disk $(WRITERS) ## archive, restore, history, verification beside pgBackRest and restic: about 15 minutes; MIB= VERSIONS= REPS= QUICK=1
	@BUILD=$(BUILD) MAKE='$(MAKE)' bench/restore.sh
bench-quick: all $(BENCH) ## measure Triveni alone, in less than a minute
	@BUILD=$(BUILD) MAKE='$(MAKE)' bench/run.sh quick

# ---- to the outside ----
.PHONY: install
install: all ## install into DESTDIR and PREFIX (/usr/local)
	install -D -m 755 $(BUILD)/triveni $(DESTDIR)$(PREFIX)/bin/triveni
	install -D -m 644 client/triveni.h $(DESTDIR)$(PREFIX)/include/triveni.h
	install -D -m 755 $(BUILD)/$(SO) $(DESTDIR)$(LIBDIR)/$(SO)
	ln -sf $(SO) $(DESTDIR)$(LIBDIR)/$(SONAME) && ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libtriveni.so
	install -m 644 $(BUILD)/libtriveni.a $(DESTDIR)$(LIBDIR)/libtriveni.a
	install -d $(DESTDIR)$(LIBDIR)/pkgconfig
	sed -e 's|@PREFIX@|$(PREFIX)|;s|@LIBDIR@|$(LIBDIR)|;s|@VERSION@|$(VERSION)|' client/triveni.pc.in \
	    > $(DESTDIR)$(LIBDIR)/pkgconfig/triveni.pc
	$(BUILD)/triveni help --bash | install -D -m 644 /dev/stdin $(DESTDIR)$(PREFIX)/share/bash-completion/completions/triveni
	for m in $(MAN); do install -D -m 644 $$m $(DESTDIR)$(PREFIX)/share/man/man$${m##*.}/$${m##*/}; done

.PHONY: clean
clean: ## remove everything that was built
	rm -rf build

.PHONY: help
help: ## show this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | sort | expand -t 16

-include $(shell test -d $(BUILD) && find $(BUILD) -name '*.d')
