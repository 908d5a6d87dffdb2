# A small C project for `make -j2`: one source, compiled again and again with another number, linked, and run at last.
NUMBERS := $(shell seq 24)
OBJECTS := $(NUMBERS:%=unit-%.o)

result.txt: units
	./units > $@

units: $(OBJECTS) unit-main.o
	$(CC) -o $@ $^

unit-%.o: unit.c
	$(CC) -O2 -DUNIT=$* -c -o $@ $<

unit-main.o: unit.c $(OBJECTS)
	(echo '#include <stdio.h>'; for n in $(NUMBERS); do echo "unsigned unit_$$n(unsigned);"; done; \
	echo 'int main(void) { unsigned sum = 1;'; for n in $(NUMBERS); do echo "sum = unit_$$n(sum);"; done; \
	echo 'printf("%u", sum); return 0; }') | $(CC) -x c -c -o $@ -
