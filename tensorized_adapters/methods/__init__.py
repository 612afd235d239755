"""The methods of adapting a frozen model."""
