def main(options): pass
