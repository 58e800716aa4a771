-- `slotcar(redis.register_function)` registers functions that get everything ready when they are called.
local redis,server,slotcar=redis,redis,function() return redis end
slotcar=(function(api,register,make)
  local own
  local function mapped(f)
    -- Nobody can see here whether something is a function but by dumping it: what is none ends the loading.
    local callback=(' ').dump
    callback(f)
    return function(K,A)
      if own then own(K,A) else redis,server,own=make(api(),K,A,$DATA) end
      return f(K,A)
    end
  end
  local function two(name,f,...) return register(name,mapped(f),...) end
  return function(f)
    if f~=register then return f end
    return function(...)
      local t,f=...
      if f~=nil then return two(...) end
      f=t and t.callback
      if f==nil then return register(...) end
      t.callback=mapped(f)
      register(...)
      t.callback=f
    end
  end
end)(slotcar,redis.register_function,$NAMES)
