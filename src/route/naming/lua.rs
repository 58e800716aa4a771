//! Scripts and libraries of functions: what is added to one, so that it speaks the app's names and the node hears the stored ones.
//!
//! In front of it comes one line without an end, so its own lines keep their numbers. `KEYS` gets the app's names back, and `redis.call` and `redis.pcall` become
//! functions that know from the table where the names of keys stand. A call in a `return` is put in parentheses: Lua would forget otherwise on which line it was.
//!
//! While a library is loaded there is nothing but a `redis` that registers functions: no `redis.call`, no `type`, no metatables. So its `register_function` is
//! replaced in the text, by one that registers functions which get everything ready when they are called. (`redis['register_function']` is not seen: what is
//! registered so gets stored names.)
//!
//! Whatever is added stands between marks, comments that are nowhere in the script. So [`original`] finds the script again, byte by byte, from nothing but what
//! a node has, and nodes may hand it on to each other:
//!
//! ```text
//! #!lua name=lib
//! --[[slotcar]]local redis,server… --[[slotcar]]return --[[slotcar]](--[[slotcar]]redis.call('get', k)--[[slotcar]])--[[slotcar]]
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::Naming;
use crate::command::{Access, Begin, Find, KeySpec, Names, table};

/// What is put in front of scripts and of libraries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prelude {
    script: Vec<u8>,
    library: Vec<u8>,
}

impl Prelude {
    /// None: no rule is for scripts.
    pub fn new(naming: &Naming) -> Option<Self> {
        let is_for_scripts = match naming.whole() {
            Some(rule) => rule.in_scripts,
            None => naming.has_databases() || naming.rules.iter().any(|rule| rule.in_scripts),
        };
        if !is_for_scripts {
            return None;
        }
        let mut rules = String::new();
        for rule in &naming.rules {
            let tag = lua_string(&rule.tag);
            let pattern = match &*rule.pattern {
                b"*" => "nil".to_owned(),
                pattern => lua_string(&lua_pattern(pattern)),
            };
            let off = if rule.in_scripts { "" } else { ",1" };
            let _ = write!(rules, "{{{tag},{pattern}{off}}},");
        }
        let mut code = CODE.replace("$GLOB", if naming.whole().is_some() { "" } else { GLOB });
        for (place, with, without) in DATABASES {
            code = code.replace(
                place,
                if naming.has_databases() {
                    with
                } else {
                    without
                },
            );
        }
        let data = format!("{{{rules}}},{{{}}},{{{}}}", specs(), answers());
        let with = |prelude: &str| {
            let prelude = prelude.replace("$CODE", &code).replace("$DATA", &data);
            squeezed(&prelude).into_bytes()
        };
        Some(Self {
            script: with(SCRIPT),
            library: with(LIBRARY),
        })
    }

    /// The script as the node gets it.
    pub fn apply(&self, body: &[u8]) -> Vec<u8> {
        put_in_front(&self.script, Kind::Script, body)
    }

    /// The library as the node gets it. One that has been changed already, and was read from a node, is not changed twice.
    pub fn apply_to_library(&self, body: &[u8]) -> Vec<u8> {
        if !body.starts_with(SHEBANG) {
            // The node refuses it.
            return body.to_vec();
        }
        let is_changed = split_shebang(body).1.starts_with(MARK);
        let original = original(body).filter(|_| is_changed);
        let body = original.as_deref().unwrap_or(body);
        put_in_front(&self.library, Kind::Library, body)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Script,
    Library,
}

/// What somebody has loaded, of what a node has or of a text that quotes it; None: it has not been changed.
pub fn original(text: &[u8]) -> Option<Vec<u8>> {
    let (mark, mut at) = first_mark(text)?;
    let mut own = text.get(..at)?.to_vec();
    loop {
        let added = at + mark.len();
        let end = added + memchr::memmem::find(text.get(added..)?, mark)? + mark.len();
        let rest = text.get(end..)?;
        match memchr::memmem::find(rest, mark) {
            Some(next) => {
                own.extend_from_slice(rest.get(..next)?);
                at = end + next;
            }
            None => {
                own.extend_from_slice(rest);
                return Some(own);
            }
        }
    }
}

/// The mark in front of a prelude, and where it stands.
fn first_mark(text: &[u8]) -> Option<(&[u8], usize)> {
    memchr::memmem::find_iter(text, MARK).find_map(|at| {
        let marked = text.get(at..)?;
        let len = MARK.len() + number_behind(marked)?.len() + MARK_END.len();
        let (mark, behind) = marked.split_at_checked(len)?;
        behind.starts_with(BEGINNING).then_some((mark, at))
    })
}

/// The digits of a mark. None: it is none.
fn number_behind(marked: &[u8]) -> Option<&str> {
    let number = marked.get(MARK.len()..)?;
    let len = number
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (number, end) = number.split_at_checked(len)?;
    let is_whole = end.starts_with(MARK_END);
    std::str::from_utf8(number).ok().filter(|_| is_whole)
}

fn put_in_front(prelude: &[u8], kind: Kind, body: &[u8]) -> Vec<u8> {
    let (first, rest) = split_shebang(body);
    if rest.is_empty() {
        return body.to_vec();
    }
    let mark = mark_beside(rest);
    let mut out = first.to_vec();
    add(prelude, &mark, &mut out);
    changed(rest, kind, &mark, &mut out);
    out
}

fn add(text: &[u8], mark: &[u8], out: &mut Vec<u8>) {
    for part in [mark, text, mark] {
        out.extend_from_slice(part);
    }
}

/// A comment that is not in the script.
fn mark_beside(body: &[u8]) -> Vec<u8> {
    let marks = memchr::memmem::find_iter(body, MARK);
    let taken: BTreeSet<u64> = marks
        .filter_map(|at| match number_behind(body.get(at..)?)? {
            "" => Some(0),
            number => number.parse().ok(),
        })
        .collect();
    let number = match (0..).find(|number| !taken.contains(number)) {
        None | Some(0) => String::new(),
        Some(number) => number.to_string(),
    };
    [MARK, number.as_bytes(), MARK_END].concat()
}

/// `#!lua flags=…` has to stay the first line.
fn split_shebang(body: &[u8]) -> (&[u8], &[u8]) {
    if !body.starts_with(SHEBANG) {
        return (&[], body);
    }
    let end = memchr::memchr(b'\n', body).map_or(body.len(), |end| end + 1);
    body.split_at_checked(end).unwrap_or((body, &[]))
}

/// Commands by where their keys are: `{' get set ',{'i',1,'r',0,1,0}},`.
fn specs() -> String {
    let mut by_specs: BTreeMap<String, String> = BTreeMap::new();
    for row in table::rows() {
        let are_keys =
            !row.keys.is_empty() && row.keys.iter().all(|key| key.access != Access::NotKey);
        let Some(specs) = row
            .keys
            .iter()
            .map(spec)
            .collect::<Option<String>>()
            .filter(|_| are_keys)
        else {
            continue;
        };
        let names = by_specs.entry(specs).or_insert_with(|| " ".to_owned());
        let _ = write!(names, "{} ", row.name);
    }
    let classes = by_specs
        .iter()
        .map(|(specs, names)| format!("{{'{names}',{specs}}},"));
    classes.collect()
}

/// None: no script calls it.
fn spec(key: &KeySpec) -> Option<String> {
    let begin = match key.begin {
        Begin::Index(at) => format!("'i',{at},0"),
        Begin::Keyword { word, from } => format!("'k',{from},'{}'", word.to_lowercase()),
        Begin::SortStore => "'s',2,0".to_owned(),
        Begin::GeoStore => "'g',5,0".to_owned(),
        Begin::MigrateKeys => return None,
    };
    Some(match key.find {
        Find::Range { last, step, limit } => format!("{{{begin},'r',{last},{step},{limit}}},"),
        Find::KeyNum {
            count_at,
            first,
            step,
        } => format!("{{{begin},'n',{count_at},{first},{step}}},"),
    })
}

/// Commands by where their answers and patterns name keys: `{' keys ','found'},`.
fn answers() -> String {
    let mut by_names: BTreeMap<&str, String> = BTreeMap::new();
    for row in table::rows() {
        let word = match row.names {
            Some(Names::Found) => "found",
            Some(Names::Scanned) => "scanned",
            Some(Names::One) => "one",
            Some(Names::First) => "first",
            Some(Names::Streams) => "streams",
            Some(
                Names::Script
                | Names::Library
                | Names::Channels
                | Names::ChannelPatterns
                | Names::Patterns
                | Names::Copied,
            )
            | None => continue,
        };
        let names = by_names.entry(word).or_insert_with(|| " ".to_owned());
        let _ = write!(names, "{} ", row.name);
    }
    let classes = by_names
        .iter()
        .map(|(word, names)| format!("{{'{names}','{word}'}},"));
    classes.collect()
}

/// A literal of these bytes.
fn lua_string(bytes: &[u8]) -> String {
    let mut text = String::from("'");
    for &byte in bytes {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\{byte:03}");
            }
        }
    }
    text.push('\'');
    text
}

/// The glob as a pattern of Lua's for the whole name.
fn lua_pattern(glob: &[u8]) -> Vec<u8> {
    let mut out = b"^".to_vec();
    let mut at = 0;
    while let Some(&byte) = glob.get(at) {
        at += 1;
        match byte {
            b'*' => out.extend_from_slice(b".*"),
            b'?' => out.push(b'.'),
            b'[' => at = lua_set(glob, at, &mut out),
            b'\\' if at < glob.len() => {
                literal(glob.get(at).copied().unwrap_or_default(), &mut out);
                at += 1;
            }
            byte => literal(byte, &mut out),
        }
    }
    out.push(b'$');
    out
}

/// `[a-z\]^]` from behind its bracket on; where the glob goes on. As servers read it: a range may be the wrong way round, and what is not closed ends with the
/// pattern.
fn lua_set(glob: &[u8], from: usize, out: &mut Vec<u8>) -> usize {
    let mut at = from;
    let is_negated = glob.get(at) == Some(&b'^');
    at += usize::from(is_negated);
    let mut set = Vec::new();
    while let Some(&byte) = glob.get(at) {
        if byte == b']' {
            break;
        }
        if byte == b'\\' && at + 1 < glob.len() {
            at += 1;
            literal(glob.get(at).copied().unwrap_or_default(), &mut set);
        } else if glob.get(at + 1) == Some(&b'-') && at + 2 < glob.len() {
            let end = glob.get(at + 2).copied().unwrap_or_default();
            // Byte by byte: Lua takes no class or escape as the end of a range.
            (byte.min(end)..=byte.max(end)).for_each(|byte| literal(byte, &mut set));
            at += 2;
        } else {
            literal(byte, &mut set);
        }
        at += 1;
    }
    match (set.is_empty(), is_negated) {
        // Nothing fits, or everything does: a set must not be empty in Lua.
        (true, true) => out.push(b'.'),
        (true, false) => out.extend_from_slice(b"[^%z\x01-\xff]"),
        (false, _) => {
            out.push(b'[');
            out.extend(is_negated.then_some(b'^'));
            out.extend_from_slice(&set);
            out.push(b']');
        }
    }
    at + 1
}

fn literal(byte: u8, out: &mut Vec<u8>) {
    match byte {
        0 => out.extend_from_slice(b"%z"),
        byte if byte.is_ascii_punctuation() => out.extend_from_slice(&[b'%', byte]),
        byte => out.push(byte),
    }
}

/// One line, and no blanks that mean nothing.
fn squeezed(code: &str) -> String {
    let lines = code.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ") + " "
}

/// `return redis.call(…)` as `return (redis.call(…))`, and in libraries `redis.register_function` as `slotcar(redis.register_function)`.
fn changed(body: &[u8], kind: Kind, mark: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    // Where a parenthesis is to be closed: so deep.
    let mut closing: Vec<usize> = Vec::new();
    let mut depth = 0_usize;
    let mut before: &[u8] = b"";
    while let Some(&byte) = body.get(at) {
        let rest = body.get(at..).unwrap_or_default();
        let skipped = skipped(rest);
        if skipped > 0 {
            out.extend_from_slice(rest.get(..skipped).unwrap_or_default());
            at += skipped;
            continue;
        }
        if is_word(byte) {
            let len = rest.iter().take_while(|byte| is_word(**byte)).count();
            let (word, behind) = rest.split_at_checked(len).unwrap_or((rest, &[]));
            let is_base = kind == Kind::Library && !matches!(before, b"." | b":" | b"function");
            let field = register_at(behind).filter(|_| is_base);
            let call = call_at(behind).filter(|_| word == b"return");
            before = word;
            at += len + field.or(call).unwrap_or(0);
            if let Some(len) = field {
                add(b"slotcar(", mark, out);
                out.extend_from_slice(rest.get(..word.len() + len).unwrap_or_default());
                add(b")", mark, out);
                continue;
            }
            out.extend_from_slice(word);
            if let Some(len) = call {
                let (blanks, name) = split_blanks(behind.get(..len).unwrap_or_default());
                out.extend_from_slice(blanks);
                add(b"(", mark, out);
                out.extend_from_slice(name);
                closing.push(depth);
            }
            continue;
        }
        out.push(byte);
        at += 1;
        if !byte.is_ascii_whitespace() {
            before = rest.get(..1).unwrap_or_default();
        }
        match byte {
            b'(' => depth += 1,
            b')' => {
                depth = depth.saturating_sub(1);
                if closing.pop_if(|open| *open == depth).is_some() {
                    add(b")", mark, out);
                }
            }
            _ => {}
        }
    }
}

/// How long `.register_function` is, if that comes here and nothing is assigned to it.
fn register_at(text: &[u8]) -> Option<usize> {
    let (_, field) = split_blanks(text);
    let (_, name) = split_blanks(field.strip_prefix(b".")?);
    let behind = name.strip_prefix(REGISTER)?;
    let (_, next) = split_blanks(behind);
    let is_assigned = next.starts_with(b"=") && !next.starts_with(b"==");
    let is_longer = behind.first().is_some_and(|byte| is_word(*byte));
    (!is_assigned && !is_longer).then_some(text.len() - behind.len())
}

/// How long `redis.call` is up to its parenthesis, if that comes here.
fn call_at(text: &[u8]) -> Option<usize> {
    let (_, call) = split_blanks(text);
    let names: [&[u8]; 4] = [
        b"redis.call",
        b"redis.pcall",
        b"server.call",
        b"server.pcall",
    ];
    let behind = names.iter().find_map(|name| call.strip_prefix(*name))?;
    let (_, open) = split_blanks(behind);
    (open.first() == Some(&b'(')).then_some(text.len() - open.len())
}

fn split_blanks(text: &[u8]) -> (&[u8], &[u8]) {
    let blanks = text
        .iter()
        .take_while(|byte| byte.is_ascii_whitespace())
        .count();
    text.split_at_checked(blanks).unwrap_or((text, &[]))
}

/// How long a comment or a string is that begins here; 0: none does.
fn skipped(rest: &[u8]) -> usize {
    match rest {
        [b'-', b'-', comment @ ..] => match long_bracket(comment) {
            0 => memchr::memchr(b'\n', rest).unwrap_or(rest.len()),
            len => len + 2,
        },
        [b'[', ..] => long_bracket(rest),
        [quote @ (b'"' | b'\''), text @ ..] => {
            let mut at = 0;
            while let Some(&byte) = text.get(at) {
                match byte {
                    b'\\' => at += 1,
                    byte if byte == *quote => return at + 2,
                    _ => {}
                }
                at += 1;
            }
            rest.len()
        }
        _ => 0,
    }
}

/// How long `[==[ … ]==]` is; 0: it is none.
fn long_bracket(text: &[u8]) -> usize {
    let Some(inner) = text.strip_prefix(b"[") else {
        return 0;
    };
    let level = inner.iter().take_while(|byte| **byte == b'=').count();
    if inner.get(level) != Some(&b'[') {
        return 0;
    }
    let end = [&b"]"[..], &b"=".repeat(level), b"]"].concat();
    memchr::memmem::find(text, &end).map_or(text.len(), |at| at + end.len())
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

const SHEBANG: &[u8] = b"#!";
const MARK: &[u8] = b"--[[slotcar";
const MARK_END: &[u8] = b"]]";
/// What a prelude begins with.
const BEGINNING: &[u8] = b"local redis,server";
const REGISTER: &[u8] = b"register_function";

const SCRIPT: &str = "local redis,server=($CODE)(redis,KEYS,ARGV,$DATA)";

/// `slotcar(redis.register_function)` registers functions that get everything ready when they are called. Nobody can see here whether something is a function
/// but by dumping it: what is none ends the loading.
const LIBRARY: &str = "
local redis,server,slotcar=redis,redis,function() return redis end
slotcar=(function(api,register,make)
local own
local function mapped(f)
local callback=(' ').dump
callback(f)
return function(K,A)
if own then own(K,A) else redis,server,own=make(api(),K,A,$DATA) end
return f(K,A) end end
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
t.callback=f end end
end)(slotcar,redis.register_function,$CODE)
";

/// `G` rules (tag, pattern, whether scripts use their stored names), `S` where keys are, `N` what answers name. Arguments are counted as in the table: the name is 0.
const CODE: &str = "
function(R,K,A,G,S,N)
local find,sub,lower,match,unpack,type,select,tonumber,tostring,pcall,error,setmetatable,pairs=string.find,string.sub,string.lower,string.match,unpack,type,select,tonumber,tostring,pcall,error,setmetatable,pairs
local function rule(k) for i=1,#G do local p=G[i][2] if p==nil or find(k,p) then return G[i][1],G[i][3] end end end
$DATABASES
local function seems(k)
if sub(k,1,1)~='{' then return '' end
for i=1,#G do local t=G[i][1]
if sub(k,1,#t)==t then
if G[i][3] then return '' end
local r=sub(k,#t+1) local o=rule(r)
if o==t or (o==nil and sub(r,1,#t)==t) then return t end return ''
end end return '' end
local function to(k)
if type(k)=='number' then k=tostring(k) end
if type(k)~='string' then return k end
local t,off=rule(k)
if off $STORED then return k end
t=t or seems(k)
$TO
return t..k end
local function from(k) if type(k)~='string' then return k end $FROM return sub(k,#seems(k)+1) end
local whole=G[1] and G[1][2]==nil and G[1][1]
local glob
$GLOB
local function pattern(p) if whole then p=whole..p $VAGUE p='*'..p end return $OF p end
local function row(L,c) for i=1,#L do if find(L[i][1],' '..c..' ',1,true) then return L[i] end end end
local function index(a,n,s)
local l=n+1
if s[1]=='i' then return s[2] end
if s[1]=='k' then
local f,e,d=s[2],n,1 if f<0 then f,e,d=l+f,1,-1 end
for i=f,e,d do if type(a[i])=='string' and lower(a[i])==s[3] then return i+1 end end return end
local at,i=nil,s[2]
while i+1<l do local w=type(a[i])=='string' and lower(a[i]) or ''
if w=='store' or (s[1]=='g' and w=='storedist') then at=i+1 i=i+1
elseif s[1]=='s' and w=='limit' then i=i+2 elseif s[1]=='s' and (w=='get' or w=='by') then i=i+1 end
i=i+1 end
return at end
local function map(a,n,s)
local b=index(a,n,s) local l=n+1
if not b or b>=l then return end
local f,e,d
if s[4]=='r' then f,d=b,s[6]
if s[7]>1 then if (l-b)%s[7]~=0 then return end e=b+(l-b)/s[7]-1
elseif s[5]<0 then e=l+s[5] else e=b+s[5] end
else local c=tonumber(a[b+s[5]]) if not c or c<1 then return end f,d=b+s[6],s[7] e=f+(c-1)*d end
if e>=l or f>e then return end
for i=f,e,d do a[i]=to(a[i]) end end
local function first(r) if type(r)=='table' and r[1] then r[1]=from(r[1]) end return r end
local function all(r,g)
if type(r)~='table' then return r end
local o={}
for i=1,#r do local k=from(r[i]) if $MINE (g==nil or find(k,g)) then o[#o+1]=k end end
return o end
local function answer(w,r,g)
if type(r)=='string' then return w=='one' and from(r) or r end
if type(r)~='table' or r.err then return r end
if w=='first' then return first(r) end
if w=='found' then return all(r,g) end
if w=='scanned' then r[2]=all(r[2],g) return r end
if w=='streams' then
if r.map then local m={} for k,v in pairs(r.map) do m[from(k)]=v end r.map=m return r end
for i=1,#r do first(r[i]) end end
return r end
local function at(r,m)
local name,line=match(m,'^(.*):(%d+):')
local source=r.source
r.line=nil r.source=nil
return line and setmetatable(r,{__index={line=tonumber(line),source=source or '@'..name},__newindex=function() end}) or r end
local function make(raise) return function(...)
local n=select('#',...)-1 local c=... local a,w,g
a={select(2,...)}
if type(c)=='string' then local l=lower(c)
local s=row(S,l) or (type(a[1])=='string' and row(S,l..'|'..lower(a[1])))
if s then for i=2,#s do map(a,n,s[i]) end end
w=row(N,l)
if w then w=w[2]
if w=='found' and type(a[1])=='string' then g=glob and glob(a[1]) a[1]=pattern(a[1]) end
if w=='scanned' then for i=2,n-1,2 do if type(a[i])=='string' and lower(a[i])=='match' and type(a[i+1])=='string' then g=glob and glob(a[i+1]) a[i+1]=pattern(a[i+1]) end end end
end end
local r if n<0 then r=R.pcall() else r=R.pcall(c,unpack(a,1,n)) end
if raise and type(r)=='table' and r.err then
local _,m=pcall(error,'',3)
error(at(r,m),0)
end
if w then return answer(w,r,g) end
return r end end
local o=setmetatable({},{__index=setmetatable({call=make(true),pcall=make(false)},{__index=R}),__newindex=R})
local function own(K,A) $SELECT for i=1,#K do K[i]=from(K[i]) end end
own(K,A)
return o,o,own end
";

/// What stands in some places of [`CODE`] with databases and without. `D`: what keys of the selected one have in front. The last argument of the script says
/// which that is, see [`selected`].
const DATABASES: &[(&str, &str, &str)] = &[
    (
        "$DATABASES",
        "
local D=''
local function prefix(k) return match(k,'^@db%d+:') end
local function stored(k)
local p=prefix(k) or '' if D~=p then return end
for i=1,#G do local t=G[i][1] if G[i][3] and sub(k,#p+1,#p+#t)==t then return true end end end
",
        "",
    ),
    ("$STORED", "or stored(k)", ""),
    (
        "$TO",
        "if D=='' and t=='' and prefix(k) then t='@db0:' end t=D..t",
        "",
    ),
    (
        "$FROM",
        "if stored(k) then return k end k=sub(k,#(prefix(k) or '')+1)",
        "",
    ),
    ("$VAGUE", "elseif D=='' or #G>0 then", "else"),
    ("$OF", "D..", ""),
    ("$MINE", "(match(r[i],'^@db[1-9]%d*:') or '')==D and", ""),
    (
        "$SELECT",
        "
local n=A[#A] and match(A[#A],'^%z@db(%d+):$')
if n then A[#A]=nil end
D=n and n~='0' and '@db'..n..':' or ''
",
        "",
    ),
];

/// What a script is told of the selected database by one more argument at the end, of those that it has. None: it needs not be told.
pub fn selected(database: u32, last: &[u8]) -> Option<Vec<u8>> {
    let is_told = database != 0 || last.starts_with(b"\0@db");
    is_told.then(|| format!("\0@db{database}:").into_bytes())
}

/// A line of `MONITOR` without what [`selected`] has added.
pub fn without_database(line: &[u8]) -> Vec<u8> {
    let added = memchr::memmem::rfind(line, b" \"\\x00@db");
    let end = added.and_then(|at| {
        let word = line.get(at + 1..)?;
        let len = memchr::memmem::find(word, b":\"")? + 2;
        // Nothing comes behind it.
        word.get(len..)?
            .iter()
            .all(u8::is_ascii_whitespace)
            .then_some((at, at + 1 + len))
    });
    match end {
        Some((from, to)) => {
            let (before, behind) = (line.get(..from), line.get(to..));
            [before.unwrap_or_default(), behind.unwrap_or_default()].concat()
        }
        None => line.to_vec(),
    }
}

/// As `lua_pattern`, for patterns that a script makes.
const GLOB: &str = "
local byte,char=string.byte,string.char
local function lit(c) if c=='\\0' then return '%z' end if match(c,'%p') then return '%'..c end return c end
glob=function(p)
local o,i='^',1
while i<=#p do
local c=sub(p,i,i)
if c=='*' then o=o..'.*' elseif c=='?' then o=o..'.'
elseif c=='\\\\' and i<#p then i=i+1 o=o..lit(sub(p,i,i))
elseif c=='[' then
local j,s=i+1,'' local not_=sub(p,j,j)=='^' if not_ then j=j+1 end
while j<=#p and sub(p,j,j)~=']' do
local d=sub(p,j,j)
if d=='\\\\' and j<#p then j=j+1 s=s..lit(sub(p,j,j))
elseif sub(p,j+1,j+1)=='-' and j+2<=#p then
local x,y=byte(p,j),byte(p,j+2) if x>y then x,y=y,x end
for b=x,y do s=s..lit(char(b)) end j=j+2
else s=s..lit(d) end
j=j+1 end
if s=='' then o=o..(not_ and '.' or '[^%z\\1-\\255]') else o=o..'['..(not_ and '^' or '')..s..']' end
i=j
else o=o..lit(c) end
i=i+1 end
return o..'$' end
";

#[cfg(test)]
mod tests {
    use super::super::tests::naming;
    use super::*;

    #[test]
    fn a_call_in_a_return_is_put_in_parentheses_and_nothing_else_is_touched() {
        for (script, expected) in [
            (
                "return redis.call('get', k)",
                "return (redis.call('get', k))",
            ),
            (
                "return  redis.pcall (f(1), ')') or 0",
                "return  (redis.pcall (f(1), ')')) or 0",
            ),
            (
                "return redis.call('a', redis.call('b'))",
                "return (redis.call('a', redis.call('b')))",
            ),
            (
                "if x then return redis.call(a) end",
                "if x then return (redis.call(a)) end",
            ),
            ("return server.call(a)", "return (server.call(a))"),
            (
                "return redis.call(unpack({1, (2)}))\nlocal x",
                "return (redis.call(unpack({1, (2)})))\nlocal x",
            ),
            ("returned = redis.call(a)", "returned = redis.call(a)"),
            ("return redis.calling(a)", "return redis.calling(a)"),
            ("return call(a)", "return call(a)"),
            (
                "-- return redis.call(a)\nreturn 1",
                "-- return redis.call(a)\nreturn 1",
            ),
            (
                "--[[ return redis.call( ]] x()",
                "--[[ return redis.call( ]] x()",
            ),
            (
                "s = 'return redis.call(' return s",
                "s = 'return redis.call(' return s",
            ),
            (
                "s = [=[return redis.call(]=]",
                "s = [=[return redis.call(]=]",
            ),
            (
                "s = \"\\\"return redis.call(\"",
                "s = \"\\\"return redis.call(\"",
            ),
            (
                "return redis.call('never closed'",
                "return (redis.call('never closed'",
            ),
            (")", ")"),
            ("", ""),
        ] {
            let mut made = Vec::new();
            changed(script.as_bytes(), Kind::Script, b"", &mut made);
            assert_eq!(String::from_utf8_lossy(&made), expected);
        }
    }

    #[test]
    fn in_a_library_what_registers_is_replaced() {
        for (library, expected) in [
            (
                "redis.register_function('f', f)",
                "slotcar(redis.register_function)('f', f)",
            ),
            (
                "server . register_function{callback=f}",
                "slotcar(server . register_function){callback=f}",
            ),
            (
                "local r=redis r.register_function('f')",
                "local r=redis slotcar(r.register_function)('f')",
            ),
            (
                "local r = redis.register_function",
                "local r = slotcar(redis.register_function)",
            ),
            (
                "function m.register_function(x) end",
                "function m.register_function(x) end",
            ),
            ("m.register_function = 1", "m.register_function = 1"),
            ("a.b.register_function()", "a.b.register_function()"),
            ("redis.register_functions()", "redis.register_functions()"),
            (
                "-- redis.register_function\nlocal s = 'redis.register_function'",
                "-- redis.register_function\nlocal s = 'redis.register_function'",
            ),
            ("return redis.call(a)", "return (redis.call(a))"),
        ] {
            let mut made = Vec::new();
            changed(library.as_bytes(), Kind::Library, b"", &mut made);
            assert_eq!(String::from_utf8_lossy(&made), expected);
        }
    }

    #[test]
    fn a_shebang_stays_the_first_line_and_lines_keep_their_numbers() {
        let prelude = Prelude::new(&naming(&["*=t"])).unwrap();
        for (script, line) in [("return 1", 0), ("#!lua flags=no-writes\nreturn 1\n", 1)] {
            for made in [
                prelude.apply(script.as_bytes()),
                prelude.apply_to_library(script.as_bytes()),
            ] {
                let made = String::from_utf8(made).unwrap();
                assert_eq!(made.lines().count(), script.lines().count());
                assert_eq!(made.lines().next().unwrap().starts_with("#!"), line == 1);
                let code = made.lines().nth(line).unwrap();
                assert!(code.ends_with("return 1"));
            }
        }
        for body in ["", "#!lua", "#!lua name=x\n"] {
            assert_eq!(prelude.apply(body.as_bytes()), body.as_bytes());
        }
        let unnamed = b"redis.register_function('f', f)";
        assert_eq!(prelude.apply_to_library(unnamed), unnamed);
        for made in [prelude.script, prelude.library] {
            assert!(made.starts_with(BEGINNING) && !made.contains(&b'\n'));
            assert!(made.len() < 8 * 1024, "{} bytes", made.len());
        }
    }

    #[test]
    fn what_was_loaded_is_found_again() {
        let prelude = Prelude::new(&naming(&["*=t", "a?b=u"])).unwrap();
        let pieces = [
            "return ",
            "redis.call",
            "(",
            ")",
            "server.register_function",
            "--[[slotcar",
            "--[[slotcar]]",
            "--[[slotcar1]]",
            "--[[slotcar99999999999]]",
            "]]",
            "\n",
            "local redis,server",
            "'",
            "x",
            "slotcar",
        ];
        for one in pieces {
            for two in pieces {
                for three in pieces {
                    let body = [one, two, three, two, one, ")"].concat();
                    let made = prelude.apply(body.as_bytes());
                    assert_eq!(original(&made), Some(body.clone().into_bytes()));
                    let library = format!("#!lua name=x\nx{body}");
                    let made = prelude.apply_to_library(library.as_bytes());
                    let again = prelude.apply_to_library(&made);
                    assert_eq!(original(&made), Some(library.into_bytes()));
                    assert_eq!(again, made, "not changed twice");
                }
            }
        }
        for text in [
            "",
            "--[[slotcar",
            "--[[slotcar]]",
            "--[[slotcar]]local redis,server",
            "--[[slotcar]]x--[[slotcar]]",
        ] {
            assert_eq!(original(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn globs_become_patterns() {
        for (glob, pattern) in [
            ("a*b?", "^a.*b.$"),
            ("a.b-c", "^a%.b%-c$"),
            ("[a-c]", "^[abc]$"),
            ("[^c-a]x", "^[^abc]x$"),
            ("[\\]]", "^[%]]$"),
            ("[]", "^[^%z\u{1}-\u{ff}]$"),
            ("[^]", "^.$"),
            ("\\*", "^%*$"),
            ("[ab", "^[ab]$"),
            ("\\", "^%\\$"),
        ] {
            let made = lua_pattern(glob.as_bytes());
            let made: String = made.iter().map(|byte| char::from(*byte)).collect();
            assert_eq!(made, pattern, "{glob}");
        }
    }
}
