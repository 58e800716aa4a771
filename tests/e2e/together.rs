//! Keys that belong together: some of an app's share a slot, and the app knows nothing of it.

use std::time::Duration;

use crate::support::conn::encode;
use crate::support::{Cluster, Conn, Random, Server, ServerKind, Slotcar, Value, wait_until};

on_both!(
    what_is_kept_together_is_used_together,
    everything_speaks_of_the_names_of_the_app,
    scripts_speak_of_them_too,
    scripts_may_have_the_stored_names,
    scripts_without_keys_have_a_home,
    a_pattern_within_a_rule_asks_its_node_alone,
    functions_speak_of_them_too,
    a_library_is_shown_as_it_was_loaded,
    errors_of_functions_are_as_on_one_server,
    a_primary_dies_under_what_is_kept_together,
);

const RULES: [&str; 4] = ["--keep-together", "q:*", "--keep-together", "*:job[0-9]=q"];

struct Together {
    // Ends first.
    slotcar: Slotcar,
    cluster: Cluster,
}

impl Together {
    fn start(kind: ServerKind, replicas: usize) -> Together {
        Together::with(kind, replicas, &RULES)
    }

    fn with(kind: ServerKind, replicas: usize, rules: &[&str]) -> Together {
        let cluster = Cluster::start(kind, 3, replicas);
        let seeds = cluster.seeds();
        let slotcar = Slotcar::start(&[&["--cluster", &seeds], rules].concat());
        Together { slotcar, cluster }
    }

    /// What is stored, under its real names.
    fn stored(&self) -> Vec<String> {
        let mut all = Vec::new();
        for node in self.cluster.primaries() {
            all.extend(self.cluster.conn(node).ok(&["KEYS", "*"]).sorted_texts());
        }
        all.sort();
        all
    }
}

fn what_is_kept_together_is_used_together(kind: ServerKind) {
    let together = Together::start(kind, 0);
    let mut conn = together.slotcar.conn();
    let mut run = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        conn.cmd(&words)
    };
    for (line, expected) in [
        ("MSET q:1 a q:2 b my:job1 c other d", "OK"),
        ("RENAME q:1 q:3", "OK"),
        ("COPY q:3 my:job2", "1"),
        ("MULTI", "OK"),
        ("GET q:3", "QUEUED"),
        ("SET my:job1 e", "QUEUED"),
        ("DEL q:2", "QUEUED"),
    ] {
        let reply = run(line);
        let text = match &reply {
            Value::Int(number) => number.to_string(),
            reply => reply.text(),
        };
        assert_eq!(text, expected, "{line}: {reply:?}");
    }
    assert_eq!(run("EXEC").list().len(), 3);
    run("RPUSH q:list x y");
    assert_eq!(run("LMOVE q:list my:job3 LEFT RIGHT").text(), "x");
    assert_eq!(run("BLPOP q:none q:list 1").list()[0].text(), "q:list");
    assert_eq!(run("WATCH q:3 my:job1").text(), "OK");
    // Names that could be taken for ours, and those that cannot.
    run("MSET {q}q:3 trap {q}mine own {user}x y");
    assert_eq!(run("GET q:3").text(), "a");
    assert_eq!(run("GET {q}q:3").text(), "trap");
    let stored = [
        "other",
        "{q}mine",
        "{q}my:job1",
        "{q}my:job2",
        "{q}my:job3",
        "{q}q:3",
        "{q}{q}q:3",
        "{user}x",
    ];
    assert_eq!(together.stored(), stored);
    let names = run("KEYS *").sorted_texts();
    let own = [
        "my:job1", "my:job2", "my:job3", "other", "q:3", "{q}mine", "{q}q:3", "{user}x",
    ];
    assert_eq!(names, own);
    for (pattern, expected) in [
        ("q:*", &["q:3"][..]),
        ("{*", &["{q}mine", "{q}q:3", "{user}x"]),
        ("*job[12]", &["my:job1", "my:job2"]),
        ("oth?r", &["other"]),
        ("q:4", &[]),
    ] {
        assert_eq!(
            run(&format!("KEYS {pattern}")).sorted_texts(),
            expected,
            "{pattern}"
        );
        let (mut cursor, mut found) = ("0".to_owned(), Vec::new());
        loop {
            let reply = run(&format!("SCAN {cursor} MATCH {pattern} COUNT 100"));
            found.extend(reply.list()[1].sorted_texts());
            cursor = reply.list()[0].text();
            if cursor == "0" {
                break;
            }
        }
        found.sort();
        assert_eq!(found, expected, "SCAN {pattern}");
    }
    // What no rule keeps together is refused as before, by the app's names.
    for line in ["RENAME q:3 other", "SUNIONSTORE elsewhere q:3 other"] {
        let reply = run(line);
        let text = reply.error().expect("an error");
        assert!(
            text.starts_with("CROSSSLOT") && !text.contains("{q}q:3"),
            "{text}"
        );
    }
}

fn everything_speaks_of_the_names_of_the_app(kind: ServerKind) {
    let together = Together::start(kind, 0);
    for node in together.cluster.primaries() {
        let mut conn = together.cluster.conn(node);
        conn.ok(&["CONFIG", "SET", "notify-keyspace-events", "KEA"]);
    }
    let mut conn = together.slotcar.conn();
    let mut listener = together.slotcar.conn();
    listener.ok(&["SUBSCRIBE", "__keyspace@0__:q:1"]);
    let reply = listener.ok(&["PSUBSCRIBE", "__keyspace@0__:*:job?"]);
    assert_eq!(reply.list()[1].text(), "__keyspace@0__:*:job?");
    conn.ok(&["SET", "xx:jobless", "v"]);
    conn.ok(&["SET", "q:1", "v"]);
    let message = listener.recv();
    assert_eq!(message.list()[1].text(), "__keyspace@0__:q:1");
    conn.ok(&["SET", "my:job1", "v"]);
    conn.ok(&["SET", "a:jobs", "v"]);
    for expected in ["my:job1", "a:jobs"] {
        let message = listener.recv();
        let texts: Vec<String> = message.list().iter().map(Value::text).collect();
        assert_eq!(
            texts[1..3],
            [
                "__keyspace@0__:*:job?",
                &format!("__keyspace@0__:{expected}")
            ]
        );
    }
    let mut events = together.slotcar.conn();
    events.ok(&["SUBSCRIBE", "__keyevent@0__:del"]);
    conn.ok(&["DEL", "q:1"]);
    assert_eq!(events.recv().list()[2].text(), "q:1");
    // Caches are told of them, too.
    let mut cache = Conn::open_resp3(together.slotcar.addr());
    cache.ok(&["CLIENT", "TRACKING", "ON"]);
    cache.ok(&["GET", "my:job1"]);
    conn.ok(&["SET", "my:job1", "w"]);
    let Value::Push(told) = cache.recv() else {
        panic!("an invalidation")
    };
    assert_eq!(told[1].list()[0].text(), "my:job1");
    let mut broadcast = Conn::open_resp3(together.slotcar.addr());
    broadcast.ok(&[
        "CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "q:", "PREFIX", "oth",
    ]);
    for key in ["q:2", "other"] {
        conn.ok(&["SET", key, "v"]);
        let Value::Push(told) = broadcast.recv() else {
            panic!("an invalidation")
        };
        assert_eq!(told[1].list()[0].text(), key);
    }
    // Streams of both kinds in one request, and a wait for lists of both kinds.
    conn.ok(&["XADD", "q:s", "1-1", "f", "v"]);
    conn.ok(&["XADD", "stream", "1-1", "f", "w"]);
    let read = conn.ok(&["XREAD", "STREAMS", "stream", "q:s", "0", "0"]);
    let names: Vec<String> = read.list().iter().map(|one| one.list()[0].text()).collect();
    assert_eq!(names, ["stream", "q:s"]);
    for key in ["q:l", "list"] {
        let mut waiting = together.slotcar.conn();
        waiting.send_raw(&encode(&["BLPOP", "q:l", "list", "10"]));
        conn.ok(&["RPUSH", key, "v"]);
        assert_eq!(waiting.recv().list()[0].text(), key);
    }
    let error = conn.cmd(&["XREADGROUP", "GROUP", "g", "me", "STREAMS", "q:s", ">"]);
    let error = error.error().unwrap_or_default().to_owned();
    assert!(error.contains("'q:s'"), "{error}");
}

fn scripts_speak_of_them_too(kind: ServerKind) {
    let together = Together::start(kind, 0);
    let mut conn = together.slotcar.conn();
    let script = "redis.call('MSET', 'q:1', 'a', 'q:2', 'b', 'my:job1', 'c')
        local keys = redis.call('KEYS', ARGV[1]) table.sort(keys)
        return {KEYS[1] or 'none', redis.call('GET', 'q:1'), keys}";
    for (pattern, expected) in [
        ("*", &["my:job1", "q:1", "q:2"][..]),
        ("q:[^1]", &["q:2"]),
        ("my:job\\1", &["my:job1"]),
        ("?:[0-1]", &["q:1"]),
        ("[", &[]),
    ] {
        for keys in [&[][..], &["q:9"]] {
            let count = keys.len().to_string();
            let words = [&["EVAL", script, &count], keys, &[pattern]].concat();
            let reply = conn.ok(&words);
            let items = reply.list();
            assert_eq!(items[0].text(), keys.first().copied().unwrap_or("none"));
            assert_eq!(items[1].text(), "a");
            assert_eq!(items[2].sorted_texts(), expected, "{pattern}");
        }
    }
    assert_eq!(together.stored(), ["{q}my:job1", "{q}q:1", "{q}q:2"]);
    // Its name is the client's, also where a node has to be told anew.
    let sha = conn
        .ok(&["SCRIPT", "LOAD", "return redis.call('GET', KEYS[1])"])
        .text();
    assert_eq!(sha, "d3c21d0c2b9ca22f82737626a27bcaf5d288f99f");
    for node in together.cluster.primaries() {
        together.cluster.conn(node).ok(&["SCRIPT", "FLUSH"]);
    }
    assert_eq!(conn.ok(&["EVALSHA", &sha, "1", "q:1"]).text(), "a");
    assert_eq!(
        conn.ok(&["SCRIPT", "EXISTS", &sha]).list()[0],
        Value::Int(1)
    );
    // What a node was told by somebody else does not know the app's names, so it is not there.
    let mut foreign = String::new();
    for node in together.cluster.primaries() {
        let words = ["SCRIPT", "LOAD", "return redis.call('GET', 'q:1')"];
        foreign = together.cluster.conn(node).ok(&words).text();
    }
    let reply = conn.cmd(&["EVALSHA", &foreign, "1", "q:1"]);
    let error = reply.error().expect("no node's own script");
    assert!(error.starts_with("NOSCRIPT "), "{error}");
    assert_eq!(
        conn.ok(&["SCRIPT", "EXISTS", &foreign]).list()[0],
        Value::Int(0)
    );
}

fn scripts_may_have_the_stored_names(kind: ServerKind) {
    let rules = ["--keep-together", "q:*=q?scripts=off"];
    let together = Together::with(kind, 0, &rules);
    let mut conn = together.slotcar.conn();
    let script = "redis.call('SET', KEYS[1] .. ':x', ARGV[1]) return KEYS[1]";
    let reply = conn.ok(&["EVAL", script, "1", "q:1", "v"]);
    assert_eq!(reply.text(), "{q}q:1");
    assert_eq!(conn.ok(&["GET", "q:1:x"]).text(), "v");
    assert_eq!(together.stored(), ["{q}q:1:x"]);
    // The nodes have just what the client has said.
    let sha = conn.ok(&["SCRIPT", "LOAD", script]).text();
    for node in together.cluster.primaries() {
        let exists = together.cluster.conn(node).ok(&["SCRIPT", "EXISTS", &sha]);
        assert_eq!(exists.list()[0], Value::Int(1));
    }

    // Beside rules that scripts do know.
    let rules = [&rules[..], &["--keep-together", "r:*"]].concat();
    let together = Together::with(kind, 0, &rules);
    let mut conn = together.slotcar.conn();
    let reply = conn.ok(&["EVAL", script, "1", "q:1", "v"]);
    assert_eq!(reply.text(), "{q}q:1");
    let reply = conn.ok(&["EVAL", script, "1", "r:1", "v"]);
    assert_eq!(reply.text(), "r:1");
    assert_eq!(together.stored(), ["{q}q:1:x", "{r}r:1:x"]);
    assert_eq!(conn.ok(&["MGET", "q:1:x", "r:1:x"]).list().len(), 2);
}

fn scripts_without_keys_have_a_home(kind: ServerKind) {
    let rules = ["q:*", "r:*=r?script-home=on", "s:*"];
    let rules: Vec<&str> = rules
        .iter()
        .flat_map(|rule| ["--keep-together", rule])
        .collect();
    let together = Together::with(kind, 0, &rules);
    let mut conn = together.slotcar.conn();
    for round in ["1", "2", "3"] {
        let script = "return redis.call('INCR', 'r:count')";
        assert_eq!(conn.ok(&["EVAL", script, "0"]).int().to_string(), round);
    }
    assert_eq!(together.stored(), ["{r}r:count"]);
}

fn functions_speak_of_them_too(kind: ServerKind) {
    let together = Together::start(kind, 0);
    let mut conn = together.slotcar.conn();
    assert_eq!(conn.ok(&["FUNCTION", "LOAD", QUEUE]).text(), "queue");
    let other = Slotcar::start(&[&["--cluster", &together.cluster.seeds()], &RULES[..]].concat());
    for mut conn in [conn, other.conn(), Conn::open_resp3(other.addr())] {
        assert_eq!(
            conn.ok(&["FCALL", "push", "1", "q:1", "a", "b"]).int(),
            2,
            "declared"
        );
        let popped = conn.ok(&["FCALL", "pop", "2", "q:0", "q:1"]);
        assert_eq!(popped.sorted_texts(), ["a", "q:1"]);
        let popped = conn.ok(&["FCALL", "pop_any", "0"]);
        assert_eq!(popped.sorted_texts(), ["b", "q:1"], "undeclared");
        assert_eq!(conn.ok(&["FCALL_RO", "all", "0"]).sorted_texts(), ["q:all"]);
        conn.ok(&["MULTI"]);
        conn.ok(&["FCALL", "push", "1", "q:2", "c"]);
        conn.ok(&["FCALL", "pop_any", "0"]);
        conn.ok(&["FCALL_RO", "all", "1", "my:job1"]);
        let answers = conn.ok(&["EXEC"]);
        assert_eq!(answers.list()[0].int(), 1);
        assert_eq!(answers.list()[1].sorted_texts(), ["c", "q:2"]);
        let names = answers.list()[2].sorted_texts();
        assert_eq!(names, ["my:job1", "q:all"]);
        conn.ok(&["MULTI"]);
        conn.ok(&["FCALL", "pop_any", "0"]);
        assert_eq!(conn.ok(&["EXEC"]).list(), [Value::Nil]);
        // What no rule fits has its own name, in the function as well.
        let reply = conn.cmd(&["FCALL_RO", "all", "1", "other"]);
        assert_eq!(reply.list()[0].text(), "other");
    }
    assert_eq!(together.stored(), ["{q}q:all"]);
    // It comes back as it is, and goes away like any other.
    let mut conn = other.conn();
    let dump = conn.ok(&["FUNCTION", "DUMP"]);
    conn.ok(&["FUNCTION", "DELETE", "queue"]);
    let reply = conn.cmd(&["FCALL", "pop_any", "0"]);
    assert_eq!(reply.error(), Some("ERR Function not found"));
    let payload = dump.bytes().expect("a payload");
    conn.ok(&[&b"FUNCTION"[..], b"RESTORE", payload]);
    conn.ok(&["FCALL", "push", "1", "q:1", "a"]);
    let popped = conn.ok(&["FCALL", "pop_any", "0"]);
    assert_eq!(popped.sorted_texts(), ["a", "q:1"]);
    assert_eq!(code(&conn.ok(&["FUNCTION", "LIST", "WITHCODE"])), QUEUE);

    // Rules that scripts do not know are not for functions either.
    let rules = ["--keep-together", "q:*=q?scripts=off"];
    let slotcar = Slotcar::start(&[&["--cluster", &together.cluster.seeds()], &rules[..]].concat());
    let mut conn = slotcar.conn();
    conn.ok(&["FUNCTION", "LOAD", "REPLACE", QUEUE]);
    let names = conn.ok(&["FCALL", "all", "1", "q:1"]);
    assert_eq!(names.sorted_texts(), ["{q}q:1"]);
}

fn a_library_is_shown_as_it_was_loaded(kind: ServerKind) {
    let together = Together::start(kind, 0);
    let mut conn = together.slotcar.conn();
    let mut monitors = together.slotcar.conn();
    monitors.ok(&["MONITOR"]);
    let strange =
        "#!lua name=queue\r\n\tlocal s = [=[--[[slotcar]] return redis.call('get', ')') ]=]
        local reg = redis.register_function -- redis.register_function
        reg('f', function(keys) return redis.call(unpack({'get', keys[1]})) end) return  redis.log (
            redis.LOG_DEBUG, '\\\"\\0') --";
    for (at, library) in [QUEUE, strange].into_iter().enumerate() {
        let reply = conn.ok(&["FUNCTION", "LOAD", "REPLACE", library]);
        assert_eq!(reply.text(), "queue");
        let list = ["FUNCTION", "LIST", "LIBRARYNAME", "q*", "WITHCODE"];
        assert_eq!(code(&conn.ok(&list)), library);
        let mut resp3 = Conn::open_resp3(together.slotcar.addr());
        assert_eq!(code(&resp3.ok(&list)), library);
        let without = conn.ok(&["FUNCTION", "LIST"]);
        assert_eq!(without.list().len(), 1);
        // Whoever copies what a node has gets the same.
        let primary = together.cluster.primaries().into_iter().next();
        let node = primary.expect("a primary");
        let on_node = code(&together.cluster.conn(node).ok(&list));
        assert_ne!(on_node, library);
        conn.ok(&["FUNCTION", "LOAD", "REPLACE", &on_node]);
        assert_eq!(code(&conn.ok(&list)), library);
        let again = conn.cmd(&["FUNCTION", "LOAD", library]);
        assert_eq!(again.error(), Some("ERR Library 'queue' already exists"));
        if at == 0 {
            let line = monitors.recv().text();
            let quoted = library.replace('\n', "\\n");
            assert!(line.ends_with(&format!("\"{quoted}\"")), "{line}");
        }
    }
    conn.ok(&["SET", "q:1", "v"]);
    assert_eq!(conn.ok(&["FCALL", "f", "1", "q:1"]).text(), "v");
}

fn errors_of_functions_are_as_on_one_server(kind: ServerKind) {
    let together = Together::start(kind, 0);
    let plain = Server::start_plain(kind);
    let mut conns = [together.slotcar.conn(), Conn::open(plain.addr())];
    let mut alike = |words: &[&str], expected: &str| {
        let [own, plain] = conns.each_mut().map(|conn| conn.cmd(words));
        assert_eq!(own, plain, "{words:?}");
        let error = own.any_error().unwrap_or_default();
        assert!(error.contains(expected), "{words:?}: {error}");
    };
    for (code, expected) in [
        ("nonsense(", "user_function:3: unexpected symbol"),
        ("redis.call('get', 'q:1')", "ERR user_function:3: Script"),
        ("redis.x = 1", "user_function:3: Attempt to modify"),
        ("x = 1", "user_function:3: Attempt to modify"),
        ("redis.register_function('f')", "single argument"),
        ("redis.register_function{function_name='f'}", "callback"),
        ("return", "No functions registered"),
    ] {
        let library = format!("#!lua name=bad\n\n{code}");
        alike(&["FUNCTION", "LOAD", &library], expected);
    }
    alike(&["FUNCTION", "LOAD", "#!lua name=bad"], "metadata");
    alike(&["FUNCTION", "LOAD", "return 1"], "metadata");
    let server = match kind {
        ServerKind::Redis7 => "redis",
        ServerKind::Valkey8 => "server",
    };
    let library = format!(
        "#!lua name=lib
        {server}.register_function('a', function(keys)
            return {server}.call('LPUSH', keys[1], 'x')
        end)
        {server}.register_function{{function_name='b', callback=function()
            {server}.call('LPUSH', 'q:1', 'x')
        end}}
        {server}.register_function{{function_name='c', callback=function(keys)
            return {server}.call('SET', keys[1], 'x')
        end, flags={{'no-writes'}}}}
        {server}.register_function('d', function() return nosuch.x end)
        {server}.register_function('e', function()
            return {server}.pcall('LPUSH', 'q:1', 'x')
        end)"
    );
    alike(&["FUNCTION", "LOAD", &library], "");
    alike(&["SET", "q:1", "v"], "");
    for (words, expected) in [
        (&["FCALL", "a", "1", "q:1"][..], "on @user_function:3."),
        (&["FCALL", "b", "0"], "script: b, on @user_function:6."),
        (&["FCALL", "c", "1", "q:1"], "on @user_function:9."),
        (&["FCALL_RO", "a", "1", "q:1"], "_ro command"),
        (&["FCALL_RO", "c", "1", "q:1"], "on @user_function:9."),
        (&["FCALL", "d", "0"], "user_function:11: "),
        (&["FCALL", "e", "0"], "WRONGTYPE"),
        (&["FCALL", "f", "0"], "not found"),
    ] {
        alike(words, expected);
    }
}

/// The code of the only library in an answer to `FUNCTION LIST`.
fn code(reply: &Value) -> String {
    let entries = reply.list()[0].entries();
    let code = entries
        .iter()
        .find(|(name, _)| name.text() == "library_code");
    code.expect("code").1.text()
}

const QUEUE: &str = "#!lua name=queue
local function push(keys, args)
  redis.call('SADD', 'q:all', keys[1])
  return redis.call('RPUSH', keys[1], unpack(args))
end
local function pop(keys)
  for _, key in ipairs(keys) do
    local job = redis.call('LPOP', key)
    if job then return {key, job} end
  end
  return false
end
redis.register_function('push', push)
redis.register_function('pop', pop)
redis.register_function{function_name='pop_any', callback=function()
  return pop(redis.call('SMEMBERS', 'q:all'))
end}
redis.register_function{function_name='all', callback=function(keys)
  for _, key in ipairs(redis.call('KEYS', 'q:*')) do
    keys[#keys + 1] = key
  end
  return keys
end, flags={'no-writes'}}";

fn a_pattern_within_a_rule_asks_its_node_alone(kind: ServerKind) {
    let together = Together::start(kind, 0);
    let mut conn = together.slotcar.conn();
    conn.ok(&["MSET", "q:1", "a", "q:2", "b", "q2", "c", "other", "d"]);
    let calls = |together: &Together| {
        let nodes = together.cluster.primaries();
        let counts = nodes.into_iter().map(|node| {
            let stats = together
                .cluster
                .conn(node)
                .ok(&["INFO", "commandstats"])
                .text();
            let line = stats.lines().find(|line| line.starts_with("cmdstat_keys:"));
            line.map_or(0, |line| {
                line.split(['=', ','])
                    .nth(1)
                    .map_or(0, |n| n.parse().unwrap())
            })
        });
        counts.sum::<usize>()
    };
    assert_eq!(conn.ok(&["KEYS", "q:*"]).sorted_texts(), ["q:1", "q:2"]);
    assert_eq!(calls(&together), 1);
    assert_eq!(
        conn.ok(&["KEYS", "q*"]).sorted_texts(),
        ["q2", "q:1", "q:2"]
    );
    assert_eq!(calls(&together), 4);
    // As Bull empties a queue.
    for request in [&["MULTI"][..], &["DEL", "q:1"], &["KEYS", "q:[0-9]"]] {
        conn.ok(request);
    }
    let replies = conn.ok(&["EXEC"]);
    assert_eq!(replies.list()[1].sorted_texts(), ["q:2"]);
    conn.ok(&["MULTI"]);
    assert!(conn.cmd(&["KEYS", "q*"]).error().is_some());
    conn.ok(&["DISCARD"]);
}

/// Transactions and scripts over keys of one rule go on at the new primary, and nothing that was acknowledged is lost.
fn a_primary_dies_under_what_is_kept_together(kind: ServerKind) {
    let mut together = Together::start(kind, 1);
    together.slotcar.expect_log(" WARN ");
    let mut random = Random::new(3);
    let mut conn = together.slotcar.conn();
    conn.ok(&["MSET", "q:a", "0", "q:b", "0"]);
    let home = together.cluster.owner_of(crate::support::slot_of("{q}"));
    let (mut moved, mut unknown) = (0, 0);
    for round in 0..400 {
        if round == 100 {
            together.cluster.kill(home);
        }
        let reply = if random.below(2) == 0 {
            conn.ok(&["MULTI"]);
            conn.ok(&["DECR", "q:a"]);
            conn.ok(&["INCR", "q:b"]);
            conn.cmd(&["EXEC"])
        } else {
            let script = "redis.call('DECR', 'q:a') return redis.call('INCR', 'q:b')";
            conn.cmd(&["EVAL", script, "0"])
        };
        match reply.error() {
            None => moved += 1,
            Some(text) => {
                assert!(text.contains("its outcome is unknown"), "{text}");
                unknown += 1;
            }
        }
    }
    wait_until("all is well", LIMIT, || {
        conn.cmd(&["PING"]).error().is_none()
    });
    let number = |conn: &mut Conn, key: &str| -> i64 {
        conn.ok(&["GET", key]).text().parse().expect("a number")
    };
    let (a, b) = (number(&mut conn, "q:a"), number(&mut conn, "q:b"));
    println!("{moved} moved, {unknown} unknown, {b} in the end");
    assert_eq!(a + b, 0, "each was whole or nothing");
    assert!(
        (moved - LAST_MOMENT..=moved + unknown).contains(&b),
        "{b} of {moved}"
    );
}

/// What a primary may acknowledge and not have told its replica when it is killed: one client has one request under way.
const LAST_MOMENT: i64 = 1;
const LIMIT: Duration = Duration::from_secs(20);
