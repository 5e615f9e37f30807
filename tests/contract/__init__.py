"""The same behaviour tests over the fakes and over the real thing: a fake that lies fails here."""
