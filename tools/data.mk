# The Chinese dictionary: Debian's python3-jieba word list and our additions as a compact trie, linked in by
# src/text/lexicon.c.
DICT      ?= /usr/lib/python3/dist-packages/jieba/dict.txt
WORDS_ZH  := tools/words_zh.txt
HOSTCC    ?= $(CC)
LEXSRCS   := tools/mklexicon.c src/text/lexicon_build.c src/base/mem.c src/base/buf.c src/base/hash.c src/base/status.c

$(BUILD)/gen/mklexicon: $(LEXSRCS) src/text/lexicon.h
	@mkdir -p $(@D)
	@echo "  CC   $<"
	$(Q)$(HOSTCC) -std=c11 -D_GNU_SOURCE -O2 $(WARN) -iquote src -o $@ $(LEXSRCS) -licuuc -licui18n -lm -pthread

$(BUILD)/gen/lexicon.bin: $(BUILD)/gen/mklexicon $(DICT) $(WORDS_ZH)
	@echo "  GEN  $@"
	$(Q)$< $@.tmp $(DICT) $(WORDS_ZH) && mv $@.tmp $@

# .incbin looks in the -I folders, $(BUILD)/gen among them; -MMD does not see it, so it is named here.
$(BUILD)/src/text/lexicon.o: $(BUILD)/gen/lexicon.bin

# The web console, linked in by src/api/console.c (.incbin finds it from the repository's root).
$(BUILD)/src/api/console.o: $(wildcard console/*)

# The description of the HTTP interface, linked in by src/api/openapi.c.
$(BUILD)/src/api/openapi.o: src/api/openapi.json
