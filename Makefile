# ragd: `make run` serves the sample knowledge base at http://127.0.0.1:8001, `make test` runs every test.
# BUILD=dir builds elsewhere, SAN=address|undefined|thread adds a sanitizer, CI=1 turns warnings into errors.

CC      ?= gcc
BUILD   ?= build
SAN     ?=
OPT     ?= -O2
DATA    ?= data
SAMPLE  ?= sample/docs
LISTEN  ?= 127.0.0.1:8001
T       ?= 30
PYTHON  ?= /usr/bin/python3

PKGS    := libmicrohttpd libcurl jansson yaml-0.1 sqlite3 icu-uc icu-i18n libxml-2.0 libarchive libcrypto libxxhash
WARN    := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wvla \
           -Wformat=2 -Wundef -Wdouble-promotion -Wno-sign-conversion $(if $(filter 1 true,$(CI)),-Werror)
HARDEN  := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all,-D_FORTIFY_SOURCE=2 -fstack-protector-strong)
CFLAGS  += -std=c11 -D_GNU_SOURCE $(OPT) -g -fno-omit-frame-pointer -pthread $(WARN) $(HARDEN)
CPPFLAGS += -iquote src -I$(BUILD)/gen -DRAGD_SOURCE_DIR='"$(CURDIR)"' $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LDLIBS  += $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lstemmer -lm -pthread
LDFLAGS += $(if $(SAN),-fsanitize=$(SAN))

SRCS    := $(sort $(shell find src -name '*.c'))
OBJS    := $(SRCS:%.c=$(BUILD)/%.o)
LIBOBJS := $(filter-out $(BUILD)/src/cli/main.o,$(OBJS))
UNITS   := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(sort $(wildcard tests/unit/*_test.c)))
FUZZERS := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(sort $(wildcard tests/fuzz/*_fuzz.c)))

.PHONY: all deps run test check unit e2e asan ubsan tsan fault fuzz bench install clean layers sample
.DELETE_ON_ERROR:
.SECONDARY:

all: $(BUILD)/ragd

deps:
	@tools/deps.sh

$(BUILD)/ragd: $(BUILD)/src/cli/main.o $(BUILD)/libragd.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/libragd.a: $(LIBOBJS)
	@rm -f $@
	ar rcs $@ $^

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/unit/%: tests/unit/%.c tests/unit/test.h $(BUILD)/libragd.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests/unit $(CFLAGS) $(LDFLAGS) -MMD -MP -o $@ $< $(BUILD)/libragd.a -lcmocka $(LDLIBS)

# Compiled-in data: the Chinese lexicon and the page at /.
-include tools/data.mk

-include $(OBJS:.o=.d) $(UNITS:%=%.d)

clean:
	rm -rf build
