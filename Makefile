# Triveni. `make help` says what there is.
#
# Object files live in build/<compiler>-<mode>/; sources are found by folder, so a new .c file needs no line here.

MODE     ?= release
CC       := $(if $(filter default undefined,$(origin CC)),gcc,$(CC))
BUILD    ?= build/$(notdir $(CC))-$(MODE)
V        ?= 0
Q         = $(if $(filter 1,$(V)),,@)

PACKAGES = gcc clang make pkg-config liblmdb-dev libuv1-dev libssl-dev libzstd-dev liburing-dev libcyaml-dev \
           libjansson-dev libcurl4-openssl-dev libisal-dev libxxhash-dev libcmocka-dev clang-format \
           clang-tidy cppcheck llvm scdoc iso-codes zstd iproute2 python3-minimal openssl

LIBS     = lmdb libuv openssl libzstd liburing libcyaml jansson libxxhash

WARN     = -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Wmissing-prototypes \
           -Wstrict-prototypes -Wvla -Wcast-qual -Wformat=2 -Wswitch-enum -Wundef -Wwrite-strings \
           -Werror
CFLAGS_debug   = -O0 -g3 -DTVN_CHECK_SLOW
CFLAGS_release = -O2 -g -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection
CFLAGS_asan    = -O1 -g3 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -DTVN_CHECK_SLOW
CFLAGS_tsan    = -O1 -g3 -fsanitize=thread -fno-omit-frame-pointer -DTVN_CHECK_SLOW
LDFLAGS_release = -Wl,-z,relro,-z,now

# OPENSSL_API_COMPAT: see store/core/hash.c.
CPPFLAGS += -I. -D_GNU_SOURCE -DOPENSSL_API_COMPAT=0x10101000L -include store/core/banned.h
CFLAGS   += -std=c11 -fPIC -fno-common -pthread $(WARN) $(CFLAGS_$(MODE))
LDFLAGS  += -pthread $(LDFLAGS_$(MODE)) $(filter -fsanitize=%,$(CFLAGS_$(MODE)))
# Asked once per make, and only when something is to be compiled.
PKG_CFLAGS = $(eval PKG_CFLAGS := $$(shell pkg-config --cflags $(LIBS) 2>/dev/null))$(PKG_CFLAGS)
LDLIBS   = $(eval LDLIBS := $$(shell pkg-config --libs $(LIBS) 2>/dev/null) -lisal -lm)$(LDLIBS)

FOLDERS  = store replication repository client
src_of   = $(wildcard $(1)/*.c $(1)/core/*.c $(1)/io/*.c)
obj_of   = $(patsubst %.c,$(BUILD)/%.o,$(1))
STORE_A  = $(BUILD)/libstore.a
ARCHIVES = $(BUILD)/libtools.a $(BUILD)/libclient.a $(BUILD)/librepository.a $(BUILD)/libreplication.a $(STORE_A)
TOOLS_SRC = $(filter-out tools/main.c,$(wildcard tools/*.c))
UNIT_SRC = $(wildcard tests/unit/*/*_test.c tests/unit/*/*/*_test.c)
UNIT_BIN = $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(UNIT_SRC))

.DEFAULT_GOAL = help
.PHONY: all
all: $(BUILD)/triveni ## build the triveni binary and libtriveni

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/lib%.a:
	@echo "  AR    $(@F)"
	@mkdir -p $(@D)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/libstore.a: $(call obj_of,$(call src_of,store))
$(BUILD)/libreplication.a: $(call obj_of,$(call src_of,replication))
$(BUILD)/librepository.a: $(call obj_of,$(call src_of,repository))
$(BUILD)/libclient.a: $(call obj_of,$(call src_of,client))
$(BUILD)/libtools.a: $(call obj_of,$(TOOLS_SRC))

$(BUILD)/triveni: $(call obj_of,tools/main.c) $(ARCHIVES)
	@echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS) $< -Wl,--start-group $(ARCHIVES) -Wl,--end-group $(LDLIBS) -o $@

# tests/unit/<folder>/.../x_test.c becomes one cmocka program.
$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(ARCHIVES)
	@echo "  LD    $(@F)"
	$(Q)$(CC) $(LDFLAGS) $< -Wl,--start-group $(ARCHIVES) -Wl,--end-group $(LDLIBS) -lcmocka -o $@

.PHONY: unit
unit: $(UNIT_BIN) ## build and run the unit tests; T=part of a name runs some
	@set -e; for t in $(UNIT_BIN); do case $$t in *"$(T)"*) echo "  TEST  $${t#$(BUILD)/tests/unit/}"; $$t;; esac; done

.PHONY: clean
clean: ## remove everything that was built
	rm -rf build

.PHONY: help
help: ## show this list
	@echo "make demo    see three sites work, fail over and restore (installs what it needs)"
	@echo "make check   build and run the tests (installs what it needs)"
	@echo; sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | sort | expand -t 16

-include $(shell test -d $(BUILD) && find $(BUILD) -name '*.d')
