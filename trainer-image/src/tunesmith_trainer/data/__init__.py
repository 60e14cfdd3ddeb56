"""From files on claims and in ConfigMaps to token ids: sources → raw rows → rows in TRL's shapes → token ids."""
