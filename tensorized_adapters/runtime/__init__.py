"""What every process of ours needs: signals, exit codes, several processes, files, the terminal."""
