-- Makes the `redis` that a script sees, twice (it is `server`, too), and what gets `KEYS` and `ARGV` of a further call ready.
--
-- R: the node's `redis`; K, A: `KEYS` and `ARGV`, which get the app's names.
-- G: rules: tag, pattern (nil: every name), whether scripts use the stored names themselves.
-- S: commands by where their keys are; N: by what their answers name. Arguments are counted as in the table of commands: the name is 0.
function(R,K,A,G,S,N)
  local find,sub,lower,match,unpack,type,select,tonumber,tostring,pcall,error,setmetatable,pairs=string.find,string.sub,string.lower,string.match,unpack,type,select,tonumber,tostring,pcall,error,setmetatable,pairs

  -- Names: `Naming::tag` and `Naming::found` in Lua.
  local function rule(k)
    for i=1,#G do
      local p=G[i][2]
      if p==nil or find(k,p) then return G[i][1],G[i][3] end
    end
  end
  local D='' --if databases: what keys of the selected one have in front
  local function prefix(k) return match(k,'^@db%d+:') end --if databases
  local function stored(k) --if databases
    local p=prefix(k) or '' if D~=p then return end --if databases
    for i=1,#G do --if databases
      local t=G[i][1] --if databases
      if G[i][3] and sub(k,#p+1,#p+#t)==t then return true end --if databases
    end --if databases
  end --if databases
  local function seems(k)
    if sub(k,1,1)~='{' then return '' end
    for i=1,#G do
      local t=G[i][1]
      if sub(k,1,#t)==t then
        if G[i][3] then return '' end
        local r=sub(k,#t+1)
        local o=rule(r)
        if o==t or (o==nil and sub(r,1,#t)==t) then return t end
        return ''
      end
    end
    return ''
  end
  local function to(k)
    if type(k)=='number' then k=tostring(k) end
    if type(k)~='string' then return k end
    local t,off=rule(k)
    if off
    or stored(k) --if databases
    then return k end
    t=t or seems(k)
    if D=='' and t=='' and prefix(k) then t='@db0:' end --if databases
    t=D..t --if databases
    return t..k
  end
  local function from(k)
    if type(k)~='string' then return k end
    if stored(k) then return k end --if databases
    k=sub(k,#(prefix(k) or '')+1) --if databases
    return sub(k,#seems(k)+1)
  end

  -- Patterns: the node looks for all names that could be meant, and `glob` finds those that are.
  local whole=G[1] and G[1][2]==nil and G[1][1]
  local glob
  $GLOB
  local function pattern(p)
    if whole then p=whole..p
    elseif D=='' or #G>0 then --if databases
    else --if one database
    p='*'..p end
    return
    D.. --if databases
    p
  end

  -- Keys of a call: `command::keys` in Lua. a: arguments, n: how many there are, s: where keys are.
  local function row(L,c)
    for i=1,#L do
      if find(L[i][1],' '..c..' ',1,true) then return L[i] end
    end
  end
  local function index(a,n,s)
    local l=n+1
    if s[1]=='i' then return s[2] end
    if s[1]=='k' then
      local f,e,d=s[2],n,1
      if f<0 then f,e,d=l+f,1,-1 end
      for i=f,e,d do
        if type(a[i])=='string' and lower(a[i])==s[3] then return i+1 end
      end
      return
    end
    local at,i=nil,s[2]
    while i+1<l do
      local w=type(a[i])=='string' and lower(a[i]) or ''
      if w=='store' or (s[1]=='g' and w=='storedist') then at=i+1 i=i+1
      elseif s[1]=='s' and w=='limit' then i=i+2
      elseif s[1]=='s' and (w=='get' or w=='by') then i=i+1 end
      i=i+1
    end
    return at
  end
  local function map(a,n,s)
    local b=index(a,n,s)
    local l=n+1
    if not b or b>=l then return end
    local f,e,d
    if s[4]=='r' then
      f,d=b,s[6]
      if s[7]>1 then
        if (l-b)%s[7]~=0 then return end
        e=b+(l-b)/s[7]-1
      elseif s[5]<0 then e=l+s[5]
      else e=b+s[5] end
    else
      local c=tonumber(a[b+s[5]])
      if not c or c<1 then return end
      f,d=b+s[6],s[7]
      e=f+(c-1)*d
    end
    if e>=l or f>e then return end
    for i=f,e,d do a[i]=to(a[i]) end
  end

  -- Answers. w: what one names, g: the pattern that the script meant.
  local function first(r)
    if type(r)=='table' and r[1] then r[1]=from(r[1]) end
    return r
  end
  local function all(r,g)
    if type(r)~='table' then return r end
    local o={}
    for i=1,#r do
      local k=from(r[i])
      if
      (match(r[i],'^@db[1-9]%d*:') or '')==D and --if databases
      (g==nil or find(k,g)) then o[#o+1]=k end
    end
    return o
  end
  local function answer(w,r,g)
    if type(r)=='string' then return w=='one' and from(r) or r end
    if type(r)~='table' or r.err then return r end
    if w=='first' then return first(r) end
    if w=='found' then return all(r,g) end
    if w=='scanned' then r[2]=all(r[2],g) return r end
    if w=='streams' then
      if r.map then
        local m={}
        for k,v in pairs(r.map) do m[from(k)]=v end
        r.map=m
        return r
      end
      for i=1,#r do first(r[i]) end
    end
    return r
  end

  -- An error with the line of the script that has called, in which it is nowhere to be seen that we were between.
  local function at(r,m)
    local name,line=match(m,'^(.*):(%d+):')
    local source=r.source
    r.line=nil r.source=nil
    return line and setmetatable(r,{__index={line=tonumber(line),source=source or '@'..name},__newindex=function() end}) or r
  end
  local function make(raise)
    return function(...)
      local n=select('#',...)-1
      local c=...
      local a,w,g
      a={select(2,...)}
      if type(c)=='string' then
        local l=lower(c)
        local s=row(S,l) or (type(a[1])=='string' and row(S,l..'|'..lower(a[1])))
        if s then for i=2,#s do map(a,n,s[i]) end end
        w=row(N,l)
        if w then
          w=w[2]
          if w=='found' and type(a[1])=='string' then
            g=glob and glob(a[1])
            a[1]=pattern(a[1])
          end
          if w=='scanned' then
            for i=2,n-1,2 do
              if type(a[i])=='string' and lower(a[i])=='match' and type(a[i+1])=='string' then
                g=glob and glob(a[i+1])
                a[i+1]=pattern(a[i+1])
              end
            end
          end
        end
      end
      local r
      if n<0 then r=R.pcall() else r=R.pcall(c,unpack(a,1,n)) end
      if raise and type(r)=='table' and r.err then
        local _,m=pcall(error,'',3)
        error(at(r,m),0)
      end
      if w then return answer(w,r,g) end
      return r
    end
  end

  local o=setmetatable({},{__index=setmetatable({call=make(true),pcall=make(false)},{__index=R}),__newindex=R})
  local function own(K,A)
    local n=A[#A] and match(A[#A],'^%z@db(%d+):$') --if databases: see `selected`
    if n then A[#A]=nil end --if databases
    D=n and n~='0' and '@db'..n..':' or '' --if databases
    for i=1,#K do K[i]=from(K[i]) end
  end
  own(K,A)
  return o,o,own
end
