"""The page as an app of its own: a folder for any HTTPS host, which diagnoses on the phone."""
