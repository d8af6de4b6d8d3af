"""MAX, an exchange of Taiwan: a foreign price that is a factor only. Public, no key, nothing is traded there."""
