//! Which files of a crate import which, read from their tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The path of a module, from the root of the crate.
type Module = Vec<String>;

/// One path that a file names outside its tests: where, its segments with the first one resolved, and the name that a
/// `use` gives it.
#[derive(Clone, Debug)]
struct Named {
    line: usize,
    path: Vec<String>,
    alias: Option<String>,
}

/// A file of a crate.
#[derive(Clone, Debug, Default)]
struct File {
    named: Vec<Named>,
    /// The modules that it declares for tests.
    for_tests: BTreeSet<String>,
}

/// An import between two files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Import {
    pub(crate) from: String,
    pub(crate) line: usize,
    pub(crate) to: String,
}

/// The files of a crate.
#[derive(Debug)]
pub(crate) struct Sources {
    modules: BTreeMap<Module, String>,
    files: BTreeMap<String, File>,
}

impl Sources {
    /// From files: their names relative to the folder of the crate's root, and their texts.
    pub(crate) fn of(texts: impl Iterator<Item = (String, String)>) -> Self {
        let texts: Vec<(String, String)> = texts.collect();
        let modules: BTreeMap<Module, String> = texts.iter().map(|(name, _)| (module(name), name.clone())).collect();
        let mut files = BTreeMap::new();
        for (name, text) in &texts {
            let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
            let mut reader = Reader { modules: &modules, aliases: BTreeMap::new(), file: File::default() };
            reader.read(&tokens.into_iter().collect::<Vec<_>>(), &module(name));
            files.insert(name.clone(), reader.file);
        }
        let mut sources = Self { modules, files };
        sources.leave_out_tests();
        sources
    }

    /// From all files in a folder.
    pub(crate) fn read(folder: &Path) -> Self {
        let mut texts = Vec::new();
        let mut folders = vec![folder.to_path_buf()];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(&next).expect("a folder of sources") {
                let path = entry.expect("an entry of it").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|ext| ext == "rs") {
                    let name = path.strip_prefix(folder).expect("it is in the folder").display().to_string();
                    texts.push((name, std::fs::read_to_string(&path).expect("sources are text")));
                }
            }
        }
        Self::of(texts.into_iter())
    }

    /// The names of all files that are not for tests.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// All imports, each once; and the paths that lead nowhere.
    pub(crate) fn imports(&self) -> (Vec<Import>, Vec<String>) {
        let mut imports: BTreeMap<(&str, String), usize> = BTreeMap::new();
        let mut lost = Vec::new();
        for (name, file) in &self.files {
            for Named { line, path, .. } in &file.named {
                match self.resolve(path, 0) {
                    Ok(to) if to == *name => {}
                    Ok(to) => _ = imports.entry((name, to)).or_insert(*line),
                    Err(path) => lost.push(format!("{name}:{line} names crate::{path}, which is no file of the crate")),
                }
            }
        }
        let imports = imports.into_iter().map(|((from, to), line)| Import { from: from.to_owned(), line, to });
        (imports.collect(), lost)
    }

    /// The file that a path leads to, through re-exports.
    fn resolve(&self, path: &[String], depth: usize) -> Result<String, String> {
        let length = (0..=path.len()).rev().find(|&length| self.modules.contains_key(&path[..length]));
        let length = length.unwrap_or(0);
        let name = self.modules.get(&path[..length]).ok_or_else(|| path.join("::"))?;
        let Some(item) = path.get(length) else { return Ok(name.clone()) };
        let exports = self.files.get(name).into_iter().flat_map(|file| &file.named);
        let mut exports = exports.filter(|named| named.alias.as_ref() == Some(item) && depth < 8);
        match exports.next() {
            Some(export) => self.resolve(&[&export.path[..], &path[length + 1..]].concat(), depth + 1),
            // Without a re-export, only a path without further modules can be an item of this file.
            None if length == 0 && path.len() > 1 && item.starts_with(char::is_lowercase) => Err(item.clone()),
            None => Ok(name.clone()),
        }
    }

    /// Files that are declared under `#[cfg(test)]`, and those below them.
    fn leave_out_tests(&mut self) {
        let is_for_tests = |at: &Module| {
            (1..=at.len()).any(|length| {
                let declared_in = self.modules.get(&at[..length - 1]).and_then(|name| self.files.get(name));
                declared_in.is_some_and(|file| file.for_tests.contains(&at[length - 1]))
            })
        };
        let gone: Vec<Module> = self.modules.keys().filter(|at| is_for_tests(at)).cloned().collect();
        for at in gone {
            let name = self.modules.remove(&at).expect("it was there");
            self.files.remove(&name);
        }
    }
}

/// The module that is in a file.
fn module(name: &str) -> Module {
    let path = name.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    let is_root = path == "lib";
    path.split('/').filter(|_| !is_root).map(str::to_owned).collect()
}

/// Reads the tokens of a file.
struct Reader<'m> {
    modules: &'m BTreeMap<Module, String>,
    /// The names that `use` declarations give to the crate's modules, by the module that they are in.
    aliases: BTreeMap<(Module, String), Vec<String>>,
    file: File,
}

impl Reader<'_> {
    fn read(&mut self, tokens: &[TokenTree], here: &Module) {
        let mut at = 0;
        while at < tokens.len() {
            at = self.step(tokens, at, here);
        }
    }

    /// Reads what begins at a token, and returns where it ends.
    fn step(&mut self, tokens: &[TokenTree], at: usize, here: &Module) -> usize {
        if is_for_tests(tokens, at) {
            let end = end_of_item(tokens, at + 2);
            let mut words = tokens[at..end].windows(2);
            let module = words.find_map(|two| ident(&two[0]).filter(|word| word == "mod").and(ident(&two[1])));
            self.file.for_tests.extend(module);
            return end;
        }
        match &tokens[at] {
            TokenTree::Group(group) => {
                self.read(&group.stream().into_iter().collect::<Vec<_>>(), here);
                at + 1
            }
            TokenTree::Ident(word) if word == "mod" => match (tokens.get(at + 1).and_then(ident), tokens.get(at + 2)) {
                (Some(name), Some(TokenTree::Group(group))) => {
                    let inner = [&here[..], &[name]].concat();
                    self.read(&group.stream().into_iter().collect::<Vec<_>>(), &inner);
                    at + 3
                }
                _ => at + 2,
            },
            TokenTree::Ident(word) if word == "use" => self.path(tokens, at + 1, here, &mut Vec::new(), true),
            TokenTree::Ident(_) if !follows_path(tokens, at) => self.path(tokens, at, here, &mut Vec::new(), false),
            _ => at + 1,
        }
    }

    /// Reads a path, or the tree of a `use`, and returns where it ends.
    fn path(
        &mut self,
        tokens: &[TokenTree],
        mut at: usize,
        here: &Module,
        path: &mut Vec<String>,
        is_use: bool,
    ) -> usize {
        let (start, mut is_glob) = (path.len(), false);
        let line = tokens.get(at).map_or(0, |token| token.span().start().line);
        while let Some(word) = tokens.get(at).and_then(ident) {
            path.push(word);
            at += 1;
            if !is_colons(tokens, at) {
                break;
            }
            at += 2;
            match tokens.get(at) {
                Some(TokenTree::Group(group)) if is_use && group.delimiter() == Delimiter::Brace => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    for part in inner.split(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ','))
                    {
                        let length = path.len();
                        self.path(part, 0, here, path, is_use);
                        path.truncate(length);
                    }
                    return at + 1;
                }
                Some(TokenTree::Ident(_)) => {}
                // A `*`, which has no name, or generic arguments.
                _ => {
                    is_glob = true;
                    break;
                }
            }
        }
        if path.len() == start {
            return at + 1;
        }
        // `super` alone is in `pub(super)`.
        if !is_use && path.len() < 2 {
            return at;
        }
        let mut alias = path.last().cloned().filter(|_| is_use && !is_glob);
        if is_use && path.last().is_some_and(|word| word == "self") {
            path.pop();
            alias = path.last().cloned();
        }
        if is_use && tokens.get(at).and_then(ident).is_some_and(|word| word == "as") {
            alias = tokens.get(at + 1).and_then(ident);
            at += 2;
        }
        if let Some(resolved) = self.rooted(path, here) {
            if let Some(alias) = &alias {
                self.aliases.insert((here.clone(), alias.clone()), resolved.clone());
            }
            self.file.named.push(Named { line, path: resolved, alias });
        }
        at
    }

    /// A path from the root of the crate; none if it is not one of the crate's modules.
    fn rooted(&self, path: &[String], here: &Module) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        let mut base = here.clone();
        match first.as_str() {
            "crate" | "hpbench" => return Some(rest.to_vec()),
            "self" if !rest.is_empty() => return Some([base, rest.to_vec()].concat()),
            "super" => {
                let ups = path.iter().take_while(|word| *word == "super").count();
                base.truncate(base.len().saturating_sub(ups));
                return Some([base, path[ups..].to_vec()].concat());
            }
            _ => {}
        }
        base.push(first.clone());
        if self.modules.contains_key(&base) {
            return Some([base, rest.to_vec()].concat());
        }
        let known = self.aliases.get(&(here.clone(), first.clone()));
        known.filter(|_| !rest.is_empty()).map(|known| [known.clone(), rest.to_vec()].concat())
    }
}

fn ident(token: &TokenTree) -> Option<String> {
    if let TokenTree::Ident(word) = token { Some(word.to_string()) } else { None }
}

fn is_punct(tokens: &[TokenTree], at: usize, wanted: char) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens, at, ':') && is_punct(tokens, at + 1, ':')
}

/// Whether a word is a later part of a path, a field or a method.
fn follows_path(tokens: &[TokenTree], at: usize) -> bool {
    at > 0 && is_punct(tokens, at - 1, '.') || at > 1 && is_colons(tokens, at - 2)
}

/// Whether `#[cfg(test)]` or `#[cfg(all(test, …))]` is here.
fn is_for_tests(tokens: &[TokenTree], at: usize) -> bool {
    let Some(TokenTree::Group(attribute)) = tokens.get(at + 1).filter(|_| is_punct(tokens, at, '#')) else {
        return false;
    };
    let text = attribute.to_string().replace(' ', "");
    text == "[cfg(test)]" || text.starts_with("[cfg(all(test,")
}

/// Where an item ends: with a semicolon, or with braces.
fn end_of_item(tokens: &[TokenTree], start: usize) -> usize {
    let is_end = |at: &usize| match &tokens[*at] {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace && !is_colons(tokens, at.saturating_sub(2)),
        token => matches!(token, TokenTree::Punct(punct) if punct.as_char() == ';'),
    };
    (start..tokens.len()).find(is_end).map_or(tokens.len(), |at| at + 1)
}

/// Files that import each other in a cycle, if there are any: each imports the next one, the last one the first.
pub(crate) fn circle(imports: &[Import]) -> Option<Vec<&str>> {
    let mut targets: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for import in imports {
        targets.entry(&import.from).or_default().push(&import.to);
    }
    let mut done = BTreeSet::new();
    targets.keys().find_map(|start| visit(start, &targets, &mut done, &mut Vec::new()))
}

fn visit<'a>(
    file: &'a str,
    targets: &BTreeMap<&'a str, Vec<&'a str>>,
    done: &mut BTreeSet<&'a str>,
    way: &mut Vec<&'a str>,
) -> Option<Vec<&'a str>> {
    if let Some(at) = way.iter().position(|earlier| *earlier == file) {
        return Some(way[at..].to_vec());
    }
    if done.contains(file) {
        return None;
    }
    way.push(file);
    let found = targets.get(file).into_iter().flatten().find_map(|next| visit(next, targets, done, way));
    way.pop();
    done.insert(file);
    found
}
