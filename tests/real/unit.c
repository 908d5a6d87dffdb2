// One of many object files of the project in units.mk. The compiler has something to do with it.
// clang-format off: a call of these is no statement that needs a semicolon
#define PASTE(a, b) a##b
#define NAME(a, b) PASTE(a, b)
#define STEP(x, k) x = (x ^ (x >> 13)) * (2654435761u + UNIT * 2u + (k)); x ^= x << ((k) % 7 + 1);
#define TEN(x, k) STEP(x, k) STEP(x, k + 1) STEP(x, k + 2) STEP(x, k + 3) STEP(x, k + 4) \
  STEP(x, k + 5) STEP(x, k + 6) STEP(x, k + 7) STEP(x, k + 8) STEP(x, k + 9)
#define HUNDRED(x, k) TEN(x, k) TEN(x, k + 10) TEN(x, k + 20) TEN(x, k + 30) TEN(x, k + 40) \
  TEN(x, k + 50) TEN(x, k + 60) TEN(x, k + 70) TEN(x, k + 80) TEN(x, k + 90)

unsigned NAME(unit_, UNIT)(unsigned x) {
  for (unsigned round = 0; round < 100; ++round) {
    HUNDRED(x, 0) HUNDRED(x, 100) HUNDRED(x, 200) HUNDRED(x, 300) HUNDRED(x, 400)
  }
  return x;
}
