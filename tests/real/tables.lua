-- Coroutines, tables, closures, strings, and a garbage collector with much to do.
--     tables.lua STEPS        appends to steps.log, writes result.txt, exits with 9
local steps = tonumber(arg[1])
local log = assert(io.open("steps.log", "a"))
log:setvbuf("line")

local function numbers(seed)
  return coroutine.wrap(function()
    local state = seed
    while true do
      state = (state * 6364136223846793005 + 1442695040888963407)
      coroutine.yield(state >> 33)
    end
  end)
end

local next_number = numbers(42)
local kept, checksum = {}, 0
for step = 1, steps do
  local row = {}
  for i = 1, 5000 do
    local number = next_number()
    row[i] = { key = number % 1000, text = string.format("%x", number), value = math.sin(number) }
  end
  table.sort(row, function(a, b)
    if a.key ~= b.key then return a.key < b.key end
    return a.text < b.text
  end)
  kept[step % 16] = row
  for _, entry in ipairs(row) do
    checksum = (checksum * 31 + entry.key + #entry.text) & 0x7fffffffffff
  end
  log:write(step, " ", checksum, " ", string.format("%.17g", row[1].value), "\n")
end
local result = assert(io.open("result.txt", "w"))
for slot = 0, 15 do
  if kept[slot] then
    for i = 1, #kept[slot], 97 do result:write(slot, " ", kept[slot][i].text, " ", kept[slot][i].value, "\n") end
  end
end
result:close()
print("checksum", checksum)
os.exit(9, true)
