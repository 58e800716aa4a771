//! The command line: what to do, and the flags that [`KEYS`] makes.
//!
//! Values are not looked at here, so that all mistakes can be told at once, whatever they were set by.

use std::ffi::OsString;

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Parser, Subcommand, ValueEnum,
};

use super::draft::Given;
use super::keys::KEYS;
use super::mistake::Origin;
use super::move_keys::MoveKeys;

/// The whole command line.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "slotcar",
    version,
    about = "One plain Redis on localhost, a Redis or Valkey Cluster behind it"
)]
pub struct CommandLine {
    #[command(subcommand)]
    pub task: Option<Task>,
    /// Print the configuration, each value with where it was set, and exit
    #[arg(long, global = true)]
    pub print_config: bool,
    #[command(flatten)]
    pub flags: Flags,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Task {
    /// Serve (this is what happens without a command)
    Run,
    /// Resolve the configuration, connect, print the topology; exits with 0, 2 (configuration) or 3 (cannot reach)
    Check,
    /// Say where a request goes, without running it
    Explain {
        /// The request, as in redis-cli: a command and its arguments
        #[arg(
            required = true,
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "CMD ARG"
        )]
        request: Vec<OsString>,
    },
    /// Store what is there under the names that the rules of --keep-together give it; with --from, copy it from another server
    MoveKeys(MoveKeys),
    /// Ask the slotcar that runs with this configuration how it is; exits with 0 (well), or 1 and the reasons
    Healthcheck {
        #[arg(value_enum, default_value_t = Probe::Readyz)]
        probe: Probe,
    },
}

/// What is asked about a slotcar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Probe {
    /// Every slot has a primary that answers
    Readyz,
    /// Every worker answers
    Livez,
    /// The topology has been learnt
    Startupz,
}

impl Probe {
    pub fn path(self) -> &'static str {
        match self {
            Self::Readyz => "/readyz",
            Self::Livez => "/livez",
            Self::Startupz => "/startupz",
        }
    }
}

/// The flags that were given.
#[derive(Clone, Debug, Default)]
pub struct Flags(pub(super) Vec<Given>);

impl CommandLine {
    /// What to do, with the default filled in.
    pub fn task(&self) -> Task {
        self.task.clone().unwrap_or(Task::Run)
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let flags = KEYS.iter().filter(|key| key.is_flag).map(|key| {
            let default = key.default.map(|default| format!(" [default: {default}]"));
            let help = format!(
                "{}{} [env: {}]",
                key.about,
                default.unwrap_or_default(),
                key.variable()
            );
            Arg::new(key.name)
                .long(key.name)
                .value_name(key.value)
                .help(help)
                .action(ArgAction::Append)
                .global(true)
        });
        command.args(flags)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Vec::new();
        for key in KEYS.iter().filter(|key| key.is_flag) {
            let values: Vec<String> = matches
                .get_many(key.name)
                .into_iter()
                .flatten()
                .cloned()
                .collect();
            if !values.is_empty() {
                given.push(Given {
                    key,
                    origin: Origin::Flag(key.name),
                    values,
                });
            }
        }
        Ok(Self(given))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> CommandLine {
        CommandLine::try_parse_from(line.split(' '))
            .unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    #[test]
    fn clap_finds_nothing_wrong_with_the_definition() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn flags_stand_before_and_behind_the_command() {
        for line in [
            "slotcar --workers 2 --listen a --listen b",
            "slotcar run --workers 2 --listen a --listen b",
            "slotcar --workers 2 --listen=a --listen=b run",
        ] {
            let line = parse(line);
            let given: Vec<_> = line
                .flags
                .0
                .iter()
                .map(|given| (given.key.name, given.values.join(" ")))
                .collect();
            assert_eq!(
                given,
                [("listen", "a b".to_owned()), ("workers", "2".to_owned())]
            );
            assert_eq!(line.task(), Task::Run);
        }
    }

    #[test]
    fn what_follows_explain_is_the_request() {
        let line = parse("slotcar explain --cluster a:1 SET k v --workers 3 -x");
        assert_eq!(line.flags.0.len(), 1);
        let request = ["SET", "k", "v", "--workers", "3", "-x"]
            .map(OsString::from)
            .to_vec();
        assert_eq!(line.task(), Task::Explain { request });
    }

    #[test]
    fn a_password_is_no_flag_and_is_not_shown_when_it_is_tried() {
        for line in ["slotcar --password hunter2", "slotcar --password=hunter2"] {
            let error = CommandLine::try_parse_from(line.split(' '))
                .unwrap_err()
                .to_string();
            assert!(error.contains("--password"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
