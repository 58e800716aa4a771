-- A glob that a script makes as a pattern of Lua's: `pattern` of glob.rs in Lua.
local byte,char=string.byte,string.char
local function lit(c)
  if c=='\0' then return '%z' end
  if match(c,'%p') then return '%'..c end
  return c
end
glob=function(p)
  local o,i='^',1
  while i<=#p do
    local c=sub(p,i,i)
    if c=='*' then o=o..'.*'
    elseif c=='?' then o=o..'.'
    elseif c=='\\' and i<#p then i=i+1 o=o..lit(sub(p,i,i))
    elseif c=='[' then
      local j,s=i+1,''
      local not_=sub(p,j,j)=='^'
      if not_ then j=j+1 end
      while j<=#p and sub(p,j,j)~=']' do
        local d=sub(p,j,j)
        if d=='\\' and j<#p then j=j+1 s=s..lit(sub(p,j,j))
        elseif sub(p,j+1,j+1)=='-' and j+2<=#p then
          local x,y=byte(p,j),byte(p,j+2)
          if x>y then x,y=y,x end
          for b=x,y do s=s..lit(char(b)) end
          j=j+2
        else s=s..lit(d) end
        j=j+1
      end
      if s=='' then o=o..(not_ and '.' or '[^%z\1-\255]')
      else o=o..'['..(not_ and '^' or '')..s..']' end
      i=j
    else o=o..lit(c) end
    i=i+1
  end
  return o..'$'
end
