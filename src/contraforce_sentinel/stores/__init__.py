"""The link stores: several implementations of `links.LinkStore`, one contract test suite."""
