//! What is wrong in a configuration: where, what, and what to do about it.

use std::fmt;
use std::path::PathBuf;

/// One thing wrong in a configuration file. Its text is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// Line, counted from 1; 0 if the file as a whole is meant.
    pub line: u32,
    /// Column in characters, counted from 1; 0 if the line or the file as a whole is meant.
    pub column: u32,
    /// The key with its sections, as `wccp.group.ports`; empty for an unreadable file or a syntax error.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.file.display().to_string();
        if self.line > 0 {
            text.push_str(&format!(":{}", self.line));
        }
        text.push_str(": ");
        if !self.key.is_empty() {
            text.push_str(&format!("key `{}`: ", self.key));
        }
        text.push_str(&format!("{}; {}", self.what, self.remedy));
        // Keys, values and file names may hold line breaks; scripts count on one line for each error.
        for c in text.chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

/// Everything that was found wrong in one configuration file, in the order of its lines. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct ConfigErrors(pub Vec<ConfigError>);

fn lines(errors: &[ConfigError]) -> String {
    errors.iter().map(ConfigError::to_string).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_whatever_the_key_holds() {
        let e = ConfigError {
            file: "a.toml".into(),
            line: 3,
            column: 1,
            key: "x\ny".into(),
            what: "unknown key".into(),
            remedy: "take it out".into(),
        };
        assert_eq!(e.to_string(), "a.toml:3: key `x\\ny`: unknown key; take it out");
    }
}
