//! Commands: a name, words, and options such as `key=k1` or `orders-db="debit 5"`.

/// One command of a transcript.
#[derive(Debug, Default)]
pub struct Command {
    pub name: String,
    words: Vec<String>,
    options: Vec<(String, String)>,
}

/// Parses a line without its `> `.
pub fn parse(line: &str) -> Result<Command, String> {
    let mut command = Command::default();
    for token in tokens(line)? {
        let at = token.find(['=', '"']).filter(|&at| token[at..].starts_with('='));
        match at {
            Some(at) => command
                .options
                .push((token[..at].to_owned(), token[at + 1..].replace('"', ""))),
            None if command.name.is_empty() => command.name = token,
            None => command.words.push(token.replace('"', "")),
        }
    }
    if command.name.is_empty() {
        return Err("a command has a name".to_owned());
    }
    Ok(command)
}

/// Splits at blanks outside of quotes.
fn tokens(line: &str) -> Result<Vec<String>, String> {
    let mut tokens = Vec::new();
    let mut token = String::new();
    let mut quoted = false;
    for character in line.chars() {
        quoted ^= character == '"';
        if character == ' ' && !quoted {
            tokens.push(std::mem::take(&mut token));
        } else {
            token.push(character);
        }
    }
    tokens.push(token);
    tokens.retain(|token| !token.is_empty());
    if quoted {
        Err("a quote is not closed".to_owned())
    } else {
        Ok(tokens)
    }
}

impl Command {
    pub fn word(&self, index: usize) -> Result<&str, String> {
        self.words
            .get(index)
            .map(String::as_str)
            .ok_or_else(|| format!("{} needs {} words", self.name, index + 1))
    }

    pub fn words_from(&self, index: usize) -> &[String] {
        self.words.get(index..).unwrap_or_default()
    }

    pub fn has(&self, word: &str) -> bool {
        self.words.iter().any(|other| other == word)
    }

    pub fn option(&self, name: &str) -> Option<&str> {
        let found = self.options.iter().find(|(option, _)| option == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn number(&self, name: &str, default: u64) -> Result<u64, String> {
        self.option(name).map_or(Ok(default), number)
    }

    pub fn milliseconds(&self, name: &str) -> Result<Option<u64>, String> {
        self.option(name).map(milliseconds).transpose()
    }

    /// The options with other names than these.
    pub fn options_besides<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.options
            .iter()
            .filter(|(name, _)| !names.contains(&name.as_str()))
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

pub fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number"))
}

/// `500ms`, `10s`, `5m`, `1h`, with or without a `+` before.
pub fn milliseconds(text: &str) -> Result<u64, String> {
    let text = text.trim_start_matches('+');
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        _ => return Err(format!("{text:?} has no unit of time")),
    };
    Ok(number(digits)? * unit)
}
