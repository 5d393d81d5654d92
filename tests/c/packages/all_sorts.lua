-- strings, tables, coroutines, errors, files, time, collection of garbage
local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end
print(fib(24), _VERSION)
print(string.format("%5.2f|%d|%s|%q", math.pi, 42, "text", "a\nb"))
for word, count in ("one=1, two=2"):gmatch("(%w+)=(%w+)") do print(word, count) end
local names = {}
for i = 1, 2000 do names[i] = string.format("name%05d", (i * 7919) % 2000) end
table.sort(names)
print(names[1], names[1000], names[2000], #table.concat(names, ","))
local numbers = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i * i) end end)
print(numbers(), numbers(), numbers())
for i = 1, 1000 do assert(not pcall(error, { code = i })) end
print(pcall(function() local nothing; return nothing.field end))
print(select(2, pcall(string.rep)))
print(select("#", pcall(function() local function deep() return 1 + deep() end return deep() end)))
local file = assert(io.open("written", "w"))
file:setvbuf("full", 1024)
for i = 1, 5000 do file:write(i, "\n") end
print(file:seek("cur"), file:close())
local sum = 0
for line in io.lines("written") do sum = sum + tonumber(line) end
print(sum)
print(io.open("missing"))
print(os.rename("written", "moved"), os.remove("moved"), os.remove("moved"))
print(os.date("!%Y-%m-%d %H:%M:%S", 86400), os.time { year = 2024, month = 2, day = 29, hour = 12 })
print(os.getenv("HOME"), os.getenv("NOTHING"))
for i = 1, 200 do local waste = {}; for j = 1, 1000 do waste[j] = { j } end end
collectgarbage()
print(collectgarbage("count") < 20000)
print(math.type(1 << 62), 7 // 2, -7 % 3, 2 ^ 0.5, 1e308 * 10, math.tointeger(3.0))
print(utf8.char(228, 8364, 128512), utf8.len("ä€"), ("ä"):byte(1, -1))
print(load("return ...", "chunk", "t")(5), load("syntax error here"))
goto done
::done::
os.exit(3, true)
