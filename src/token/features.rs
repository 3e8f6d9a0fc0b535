//! What a link may have beyond its path and its end, and which of it a client must or may ask for.

use serde::{Deserialize, Serialize};

/// One feature of a link, named as the field of a mint request that asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    NotBefore,
    Subject,
    Filename,
    Disposition,
    ContentType,
    ClientNetworks,
    MaxDownloads,
    RateLimit,
    Stable,
}

impl Feature {
    /// Every feature.
    pub const ALL: [Self; 9] = [
        Self::NotBefore,
        Self::Subject,
        Self::Filename,
        Self::Disposition,
        Self::ContentType,
        Self::ClientNetworks,
        Self::MaxDownloads,
        Self::RateLimit,
        Self::Stable,
    ];

    /// The field of a mint request.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotBefore => "not_before",
            Self::Subject => "subject",
            Self::Filename => "filename",
            Self::Disposition => "disposition",
            Self::ContentType => "content_type",
            Self::ClientNetworks => "client_networks",
            Self::MaxDownloads => "max_downloads",
            Self::RateLimit => "rate_limit",
            Self::Stable => "stable",
        }
    }

    /// The feature a name stands for.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|feature| feature.as_str() == text)
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// Some of the features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(u16);

impl Features {
    /// No feature.
    pub const NONE: Self = Self(0);
    /// Every feature.
    pub const ALL: Self = Self((1 << Feature::ALL.len()) - 1);

    /// What is left to callers whom the owner of the host need not trust: what narrows a link (whom it is for, from when, from
    /// where, how often it is good, that it stays the same), and the name offered for saving. None of it says how the file is
    /// sent or shown.
    pub const HARMLESS: Self = Self::of(Feature::NotBefore)
        .with(Self::of(Feature::Filename))
        .with(Self::of(Feature::Subject))
        .with(Self::of(Feature::ClientNetworks))
        .with(Self::of(Feature::MaxDownloads))
        .with(Self::of(Feature::Stable));

    /// One feature.
    pub const fn of(feature: Feature) -> Self {
        Self(feature.bit())
    }

    /// These and others.
    #[must_use]
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether a feature is among them.
    pub const fn contains(self, feature: Feature) -> bool {
        self.0 & feature.bit() != 0
    }

    /// The first feature of these that is not among others.
    pub fn first_not_in(self, others: Self) -> Option<Feature> {
        Feature::ALL.into_iter().find(|feature| self.contains(*feature) && !others.contains(*feature))
    }

    /// Those there are.
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        Feature::ALL.into_iter().filter(move |feature| self.contains(*feature))
    }
}

impl FromIterator<Feature> for Features {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Self {
        Self(features.into_iter().fold(0, |bits, feature| bits | feature.bit()))
    }
}

/// The features that every link of a client must have, and those that a link may have at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureRules {
    pub required: Features,
    pub permitted: Features,
}

/// Nothing is required, everything permitted.
impl Default for FeatureRules {
    fn default() -> Self {
        Self { required: Features::NONE, permitted: Features::ALL }
    }
}

/// How a wish for features breaks the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureFault {
    Missing(Feature),
    Forbidden(Feature),
}

impl FeatureRules {
    /// # Errors
    /// The first feature that is missing or forbidden.
    pub fn check(self, asked: Features) -> Result<(), FeatureFault> {
        if let Some(feature) = asked.first_not_in(self.permitted) {
            return Err(FeatureFault::Forbidden(feature));
        }
        match self.required.first_not_in(asked) {
            Some(feature) => Err(FeatureFault::Missing(feature)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(features: &[Feature]) -> Features {
        features.iter().copied().collect()
    }

    #[test]
    fn a_name_stands_for_one_feature_and_back() {
        for feature in Feature::ALL {
            assert_eq!(Feature::parse(feature.as_str()), Some(feature));
            assert_eq!(serde_json::to_value(feature).unwrap(), feature.as_str());
            assert!(Features::ALL.contains(feature) && !Features::NONE.contains(feature));
        }
        assert_eq!(Feature::parse("Stable"), None);
    }

    #[test]
    fn what_is_harmless_changes_nothing_about_how_a_file_is_sent() {
        let others = [Feature::Disposition, Feature::ContentType, Feature::RateLimit];
        for feature in Feature::ALL {
            assert_ne!(Features::HARMLESS.contains(feature), others.contains(&feature), "{feature:?}");
        }
    }

    #[test]
    fn what_is_required_must_be_there_and_what_is_not_permitted_must_not() {
        let rules = FeatureRules {
            required: set(&[Feature::Stable, Feature::Subject]),
            permitted: set(&[Feature::Stable, Feature::Subject, Feature::Filename]),
        };
        assert_eq!(rules.check(set(&[Feature::Stable, Feature::Subject])), Ok(()));
        assert_eq!(rules.check(set(&[Feature::Stable, Feature::Subject, Feature::Filename])), Ok(()));
        assert_eq!(rules.check(set(&[Feature::Stable])), Err(FeatureFault::Missing(Feature::Subject)));
        assert_eq!(rules.check(Features::ALL), Err(FeatureFault::Forbidden(Feature::NotBefore)));
        assert_eq!(FeatureRules::default().check(Features::ALL), Ok(()));
        assert_eq!(FeatureRules::default().check(Features::NONE), Ok(()));
    }
}
