//! The program: flags → [`Config`] → [`app::run`] → exit code.
//!
//! Exit codes: 0 done, 1 failed, 2 the command line or the configuration is wrong, 3 nobody could be reached (`check`).

use std::io::{self, Write as _};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use slotcar::app;
use slotcar::app::tasks::{self, Found};
use slotcar::config::{self, CommandLine, Config, ConfigError, Environment, LogFormat, Task};
use tracing::level_filters::LevelFilter;

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
        Task::Check | Task::Explain { .. } => config.log_level.min(LevelFilter::ERROR),
    };
    start_log(&config, level);
    match perform(task, config) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task, config: Config) -> Result<ExitCode> {
    match task {
        Task::Run => app::run(config).map(|()| ExitCode::SUCCESS),
        Task::Check => Ok(match tasks::look(&config)? {
            Found::Good(text) => say(&text),
            Found::Unreachable(why) => {
                eprintln!("slotcar: cannot reach {}: {why}", config.upstream);
                ExitCode::from(UNREACHABLE)
            }
        }),
        Task::Explain { request } => {
            let words: Vec<Vec<u8>> = request.into_iter().map(OsStringExt::into_vec).collect();
            Ok(say(&tasks::explain(&config, &words)?))
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

fn start_log(config: &Config, level: LevelFilter) {
    match config.log_format {
        LogFormat::Human => tracing_subscriber::fmt()
            .with_writer(io::stderr)
            .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
            .with_max_level(level)
            .init(),
    }
}

/// As clap exits when it cannot read the command line.
const BAD_CONFIGURATION: u8 = 2;
const UNREACHABLE: u8 = 3;
