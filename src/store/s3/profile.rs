//! Credentials of a profile in the AWS configuration, with errors that name the profile.
//!
//! Source: AWS SDKs and Tools Reference Guide, "Shared config and credentials files".

use aws_config::profile::{Profile, ProfileFileCredentialsProvider, ProfileSet, load};
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, Result as Provided, future};
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_types::os_shim_internal::{Env, Fs};

use super::errors::root_cause;
use crate::error::Error;
use crate::sanitize;
use crate::shell::quoted;

/// The SDK's message has the error output of a process behind this. It may show a secret.
const OUTPUT: &str = ". Stderr:";

/// The properties by which a profile can give credentials.
const WAYS: [&str; 6] = [
    "aws_access_key_id",
    "credential_process",
    "login_session",
    "role_arn",
    "sso_session",
    "sso_start_url",
];

/// The source for the profile in AWS_PROFILE, or for the default profile.
#[derive(Debug)]
pub(super) struct ProfileSource(ProfileFileCredentialsProvider);

impl ProfileSource {
    pub(super) fn new(conf: &ProviderConfig) -> Self {
        Self(ProfileFileCredentialsProvider::builder().configure(conf).build())
    }

    async fn provide(&self) -> Provided {
        let refused = |error: Error| Err(CredentialsError::provider_error(error));
        let profiles = match load(&Fs::real(), &Env::real(), &EnvConfigFiles::default(), None).await
        {
            Ok(profiles) => profiles,
            Err(error) => {
                return refused(
                    Error::bad_input(format!(
                        "the AWS configuration is not readable: {}",
                        root_cause(&error)
                    ))
                    .hint("mend that file, or name another in AWS_CONFIG_FILE"),
                );
            }
        };
        let name = profiles.selected_profile();
        let Some(profile) = profiles.get_profile(name) else {
            return match name {
                // It need not exist.
                "default" => Err(CredentialsError::not_loaded_no_source()),
                _ => refused(undefined(&profiles, name)),
            };
        };
        match self.0.provide_credentials().await {
            Ok(credentials) => Ok(credentials),
            // A profile may have only a region.
            Err(error @ CredentialsError::CredentialsNotLoaded(_))
                if WAYS.iter().all(|way| profile.get(way).is_none()) =>
            {
                Err(error)
            }
            Err(error) => refused(useless(profile, &error)),
        }
    }
}

impl ProvideCredentials for ProfileSource {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.provide())
    }
}

fn undefined(profiles: &ProfileSet, name: &str) -> Error {
    let mut known: Vec<String> =
        profiles.profiles().map(|name| format!("`{}`", sanitize::message(name))).collect();
    known.sort_unstable();
    let known = match known.as_slice() {
        [] => "the AWS configuration has no profiles here".to_owned(),
        known => format!("the AWS configuration has {}", known.join(", ")),
    };
    Error::bad_input(format!(
        "AWS_PROFILE names the profile `{}`, and {known}",
        sanitize::message(name)
    ))
    .hint(
        "correct or unset AWS_PROFILE; inside a container, put the configuration into the \
         workspace and name it in AWS_CONFIG_FILE",
    )
}

fn useless(profile: &Profile, error: &CredentialsError) -> Error {
    let cause = root_cause(error);
    let cause = cause.split(OUTPUT).next().unwrap_or_default();
    let name = sanitize::message(profile.name());
    let told = format!("the AWS profile `{name}` gives no credentials: {cause}");
    Error::failed(told).hint(remedy(profile))
}

fn remedy(profile: &Profile) -> String {
    let name = quoted(profile.name());
    if profile.get("sso_session").or_else(|| profile.get("sso_start_url")).is_some() {
        return format!("run `aws sso login --profile {name}`, and then this command again");
    }
    if profile.get("login_session").is_some() {
        return format!("run `aws login --profile {name}`, and then this command again");
    }
    if profile.get("credential_process").is_some() {
        return "run the command in `credential_process` of that profile, and read its error"
            .to_owned();
    }
    format!("run `aws sts get-caller-identity --profile {name}`, and read its error")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use aws_config::profile::Property;

    use super::*;

    fn profile(setting: &str) -> Profile {
        let property = Property::new(setting.to_owned(), "x".to_owned());
        Profile::new("dev", HashMap::from([(setting.to_owned(), property)]))
    }

    #[test]
    fn each_kind_of_profile_has_its_remedy() {
        for (setting, command) in [
            ("sso_session", "`aws sso login --profile dev`"),
            ("sso_start_url", "`aws sso login --profile dev`"),
            ("login_session", "`aws login --profile dev`"),
            ("credential_process", "`credential_process`"),
            ("role_arn", "`aws sts get-caller-identity --profile dev`"),
        ] {
            let remedy = remedy(&profile(setting));
            assert!(remedy.contains(command), "{setting}: {remedy}");
        }
    }

    #[test]
    fn the_output_of_a_process_is_not_repeated() {
        let error = CredentialsError::provider_error(
            "external process exited with code exit status: 3. Stderr: key 1234",
        );
        let told = useless(&profile("credential_process"), &error).to_string();
        assert!(told.contains("exit status: 3") && !told.contains("1234"), "{told}");
    }
}
