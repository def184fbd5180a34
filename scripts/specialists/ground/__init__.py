"""What every floor above stands on: configuration, records, command line, chat template, secrets."""
