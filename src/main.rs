//! The program: flags → [`Config`] → [`app::run`] → exit code.
//!
//! Exit codes: 0 done, 1 failed, 2 the command line or the configuration is wrong, 3 nobody could be reached (`check`, `move-keys`),
//! 130 ended by a signal before all was done (`move-keys`).

use std::io::{self, Write as _};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::Result;
use clap::Parser;
use slotcar::admin::Events;
use slotcar::app::healthcheck::{self, Health};
use slotcar::app::move_keys::{self, INTERRUPTED, Outcome};
use slotcar::app::tasks::{self, Found};
use slotcar::app::{self, Log, Renewal};
use slotcar::config::{
    self, CommandLine, Config, ConfigError, Environment, LogFormat, Probe, Task,
};
use slotcar::log::{Limit, Lines};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let environment = Environment::of_process();
    if line.print_config {
        return match config::show(&line.flags, &environment) {
            Ok(lines) => say(&lines),
            Err(error) => complain(&error),
        };
    }
    let config = match config::resolve(&line.flags, &environment) {
        Ok(config) => config,
        Err(error) => return complain(&error),
    };
    let task = line.task();
    let level = match task {
        Task::Run => config.log_level,
        // What they have to say is not for a log.
        Task::Check | Task::Explain { .. } | Task::MoveKeys(_) | Task::Healthcheck { .. } => {
            config.log_level.min(LevelFilter::ERROR)
        }
    };
    let (events, limit) = (Events::default(), Limit::default());
    let lines = match Lines::start(limit.clone(), io::stderr()) {
        Ok(lines) => lines,
        Err(error) => {
            eprintln!("slotcar: no thread for the log: {error}");
            return ExitCode::FAILURE;
        }
    };
    flush_when_it_panics(&lines);
    let set_log_level = start_log(&config, level, &events, &lines, &limit);
    let said = Rc::new((line.flags, environment));
    let said_again = said.clone();
    let renewal = Renewal {
        resolve: Box::new(move || config::resolve(&said.0, &said.1)),
        rows: Box::new(move || config::rows(&said_again.0, &said_again.1)),
        set_log_level,
    };
    let done = perform(
        task,
        config,
        renewal,
        Log {
            events,
            limit: limit.clone(),
        },
    );
    limit.tell_rest();
    let code = done.unwrap_or_else(|error| {
        tracing::error!(error = %format_args!("{error:#}"), "slotcar has ended");
        ExitCode::FAILURE
    });
    lines.flush();
    code
}

fn perform(task: Task, config: Config, renewal: Renewal, log: Log) -> Result<ExitCode> {
    match task {
        Task::Run => app::run(config, renewal, log).map(|()| ExitCode::SUCCESS),
        Task::Check => {
            for each in std::iter::once(&config).chain(&config.others) {
                match tasks::look(each)? {
                    Found::Good(text) => drop(say(&text)),
                    Found::Unreachable(why) => {
                        eprintln!("slotcar: cannot reach {}: {why}", each.upstream);
                        return Ok(ExitCode::from(UNREACHABLE));
                    }
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        Task::Explain { request } => {
            let words: Vec<Vec<u8>> = request.into_iter().map(OsStringExt::into_vec).collect();
            Ok(say(&tasks::explain(&config, &words)?))
        }
        Task::Healthcheck { probe } => Ok(ask_health(&config, probe)),
        Task::MoveKeys(task) => {
            let plain = match task.source(&config) {
                Ok(plain) => plain,
                Err(error) => return Ok(complain(&error)),
            };
            let ended = move_keys::run(&config, &task, plain)?;
            say(&ended.report);
            if let Some(complaint) = ended.complaint {
                eprintln!("slotcar: {complaint}");
            }
            Ok(match ended.outcome {
                Outcome::Done => ExitCode::SUCCESS,
                Outcome::Incomplete => ExitCode::FAILURE,
                Outcome::Unreachable => ExitCode::from(UNREACHABLE),
                Outcome::Interrupted => ExitCode::from(INTERRUPTED),
            })
        }
    }
}

fn ask_health(config: &Config, probe: Probe) -> ExitCode {
    let Some(admin) = config.admin else {
        eprintln!("slotcar: admin is off, so there is nobody to ask");
        return ExitCode::from(BAD_CONFIGURATION);
    };
    match healthcheck::ask(admin, probe) {
        Ok(Health::Good) => ExitCode::SUCCESS,
        Ok(Health::Bad(reasons)) => {
            eprintln!("{reasons}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("slotcar: {admin} does not answer: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what was asked for. Somebody who does not read it to its end has read enough.
fn say(text: &str) -> ExitCode {
    drop(io::stdout().write_all(text.as_bytes()));
    ExitCode::SUCCESS
}

fn complain(error: &ConfigError) -> ExitCode {
    eprintln!("slotcar: {error}");
    ExitCode::from(BAD_CONFIGURATION)
}

/// Starts the log; what is returned changes its level.
fn start_log(
    config: &Config,
    level: LevelFilter,
    events: &Events,
    lines: &Lines,
    limit: &Limit,
) -> Box<dyn Fn(LevelFilter)> {
    let (level, handle) = reload::Layer::new(level);
    let lines = tracing_subscriber::fmt::layer().with_writer(lines.clone());
    let lines = match config.log_format {
        LogFormat::Human => lines
            .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
            .boxed(),
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            lines.with_span_list(false).boxed()
        }
    };
    // What the status page shows of it depends neither on the level nor on how many lines there are.
    let kept = config.admin.is_some().then(|| {
        let is_kept = filter_fn(|line| line.is_span() || line.fields().field("event").is_some());
        events.clone().with_filter(is_kept)
    });
    tracing_subscriber::registry()
        .with(lines.with_filter(level.and(limit.clone())))
        .with(kept)
        .init();
    // It fails when the log has ended: nobody reads it then.
    Box::new(move |level| drop(handle.reload(level)))
}

/// What was said before is what one wants to read then.
fn flush_when_it_panics(lines: &Lines) {
    let (lines, complain) = (lines.clone(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        lines.flush();
        complain(panic);
    }));
}

/// As clap exits when it cannot read the command line.
const BAD_CONFIGURATION: u8 = 2;
const UNREACHABLE: u8 = 3;
