// Uses a little of everything that libcrs is made of, and prints "sound" if it works.
#include <crs/crs.hpp>
#include <cstdio>

// Component self finds it by its name, without an option of this program's own.
extern "C" int crs_self_user_continue() { return 0; }

int main() {
  try {
    crs::Ledger ledger;
    const crs::Claim claim = ledger.claim(1, "consumer");
    const bool known = ledger.owner_of(1) == "consumer" && ledger.is_mine(claim);
    std::puts(known ? "sound" : "the ledger does not know its claim");
    return known ? 0 : 1;
  } catch (const crs::Error& error) {
    std::puts(error.what());
    return 1;
  }
}
