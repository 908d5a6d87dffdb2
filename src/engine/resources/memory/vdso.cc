#include "engine/resources/memory/vdso.h"

#include <elf.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <optional>

namespace crs::engine {
namespace {

template <typename T>
std::optional<T> read_at(std::span<const std::byte> bytes, std::uint64_t offset) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

std::string string_at(std::span<const std::byte> bytes, std::uint64_t offset) {
  std::string text;
  for (; offset < bytes.size() && bytes[offset] != std::byte{} && text.size() < 256; ++offset)
    text += static_cast<char>(bytes[offset]);
  return text;
}

std::optional<Elf64_Shdr> section(std::span<const std::byte> code, const Elf64_Ehdr& header, unsigned number) {
  if (number >= header.e_shnum || header.e_shoff > code.size()) return std::nullopt;
  return read_at<Elf64_Shdr>(code, header.e_shoff + std::uint64_t{number} * sizeof(Elf64_Shdr));
}

void add_entries(std::span<const std::byte> code, const Elf64_Shdr& symbols, const Elf64_Shdr& names,
                 std::vector<VdsoEntry>& entries) {
  if (symbols.sh_offset > code.size() || names.sh_offset > code.size()) return;
  const std::uint64_t count = std::min<std::uint64_t>(symbols.sh_size, code.size()) / sizeof(Elf64_Sym);
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto symbol = read_at<Elf64_Sym>(code, symbols.sh_offset + i * sizeof(Elf64_Sym));
    if (!symbol || ELF64_ST_TYPE(symbol->st_info) != STT_FUNC || symbol->st_shndx == SHN_UNDEF) continue;
    if (symbol->st_value >= code.size() || symbol->st_size > code.size() - symbol->st_value) continue;
    entries.push_back({string_at(code, names.sh_offset + symbol->st_name), symbol->st_value, symbol->st_size});
  }
}

// A jump to anywhere: jmp *0(%rip) and the address behind it.
std::vector<std::byte> far_jump(RemoteAddress to) {
  std::vector<std::byte> code{std::byte{0xff}, std::byte{0x25}, {}, {}, {}, {}};
  code.resize(14);
  std::memcpy(code.data() + 6, &to.value, sizeof to.value);
  return code;
}

// jmp rel32, where that reaches.
std::vector<std::byte> jump(RemoteAddress from, RemoteAddress to) {
  const auto distance = static_cast<std::int64_t>(to.value - (from.value + 5));
  if (distance < std::numeric_limits<std::int32_t>::min() || distance > std::numeric_limits<std::int32_t>::max())
    return far_jump(to);
  const auto relative = static_cast<std::int32_t>(distance);
  std::vector<std::byte> code{std::byte{0xe9}};
  code.resize(5);
  std::memcpy(code.data() + 1, &relative, sizeof relative);
  return code;
}

}  // namespace

std::vector<VdsoEntry> vdso_entries(std::span<const std::byte> code) {
  std::vector<VdsoEntry> entries;
  const auto header = read_at<Elf64_Ehdr>(code, 0);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_shentsize != sizeof(Elf64_Shdr))
    return entries;
  for (unsigned number = 0; number < header->e_shnum; ++number) {
    const auto symbols = section(code, *header, number);
    if (!symbols || symbols->sh_type != SHT_DYNSYM) continue;
    if (const auto names = section(code, *header, symbols->sh_link)) add_entries(code, *symbols, *names, entries);
  }
  return entries;
}

std::vector<std::byte> lead_to_new_vdso(std::span<const std::byte> old_code, RemoteAddress old_place,
                                        std::span<const std::byte> new_code, RemoteAddress new_place) {
  std::vector<std::byte> patched(old_code.begin(), old_code.end());
  const std::vector<VdsoEntry> targets = vdso_entries(new_code);
  for (const VdsoEntry& entry : vdso_entries(old_code)) {
    const auto target = std::ranges::find(targets, entry.name, &VdsoEntry::name);
    if (target == targets.end()) continue;
    const std::vector<std::byte> instruction = jump(old_place + entry.offset, new_place + target->offset);
    if (instruction.size() > entry.bytes) continue;
    std::ranges::copy(instruction, patched.begin() + static_cast<std::ptrdiff_t>(entry.offset));
  }
  return patched;
}

}  // namespace crs::engine
